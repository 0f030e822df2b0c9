"""What is wrong with classes, texts and experts ends a test in one sentence.

Through ``tools/test.py`` and the tool that merges, as users meet it; each
check has its own test beside the code.
"""

import re
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.scripts import plain_tool, tool, write_list
from tests.tiny import write_tiny_config
from tests.tiny_text import text
from tests.toy_videos import write_video

HEAD = 'model.cls_head.'
NAMES = ['run', 'walk', 'wave', 'jump', 'sit', 'stand']


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in a folder named like a class, a config, a checkpoint."""
    folder = tmp_path_factory.mktemp('bad')
    (folder / 'walk').mkdir()
    write_video(folder / 'walk' / '0.mp4')
    classes = write_list(folder, NAMES, 'classes.txt')
    dataset = 'test_dataloader__dataset'
    path = write_tiny_config('mote/vitb_zeroshot_hmdb51.py', folder, **{
        'model__cls_head__classes': str(classes),
        'model__cls_head__text': {**text(folder), '_delete_': True},
        f'{dataset}__ann_file': str(
            write_list(folder, ['walk/0.mp4 1'])),
        f'{dataset}__data_prefix__video': str(folder)})
    Path(path).rename(folder / 'config.py')
    with DefaultScope.overwrite_default_scope('mmaction'):
        model = MODELS.build(Config.fromfile(folder / 'config.py').model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    write_list(folder, NAMES[:4], 'four.txt')
    write_list(folder, [*NAMES, 'WAVE'], 'twice.txt')
    write_list(folder, ['run', '', *NAMES[1:]], 'empty.txt')
    write_list(folder, ['walk', 'run', *NAMES[2:]], 'swapped.txt')
    write_list(folder, [*NAMES[:5], 'standing ' * 90], 'long.txt')
    write_list(folder, ['a video of {}.', 'a video'], 'templates.txt')
    write_list(folder, ['walk/0.mp4 6'], 'seventh.txt')
    return folder


def run(folder: Path, *options: str) -> str:
    done = tool('test.py', str(folder / 'config.py'),
                str(folder / 'model.pth'), '--work-dir',
                str(folder / 'work'), '--cfg-options',
                *(option.format(folder=folder) for option in options))
    return done.error if done.returncode else ''


def test_without_a_fault_it_runs(folder: Path) -> None:
    assert run(folder) == ''


@pytest.mark.parametrize('option, message', [
    (f'{HEAD}classes={{folder}}/four.txt',
     'temporal feature modulation compares the 5 nearest classes and there '
     'are 4 classes: set modulation_k to 4 or less, or modulate=False'),
    (f'{HEAD}classes={{folder}}/twice.txt',
     "classes 2 and 6 are both named 'WAVE': give every class a name of its "
     'own.'),
    (f'{HEAD}classes={{folder}}/empty.txt',
     "the list of classes '{folder}/empty.txt' has '' for class 1, which is "
     'no name: give every class a name with letters or digits.'),
    (f'{HEAD}templates={{folder}}/templates.txt',
     "the template 'a video' holds 0 places {{}} for the name of the class: "
     'write exactly one'),
    (f'{HEAD}classes={{folder}}/swapped.txt',
     "{folder}/list.txt, line 1 ({folder}/walk/0.mp4): label 1 is 'run' "
     'among the classes of the head, and the folder is that of class 0: give '
     'the head its classes in the order of the labels of this list'),
    ('test_dataloader.dataset.ann_file={folder}/seventh.txt',
     '{folder}/seventh.txt, line 1 ({folder}/walk/0.mp4): label 6 is outside '
     'the 6 classes (0 to 5): correct it in the annotation file, or set '
     'num_classes of the head to at least 7 (a TextHead has as many as its '
     'classes)'),
    (f'{HEAD}classes={{folder}}/long.txt',
     f"the text 'a video of {('standing ' * 90).strip()}.' has 96 tokens and "
     'the text tower reads 77: shorten the name of the class or the '
     'template'),
    ('model.neck.merge_weights=0',
     'the temperature 0 gives experts no weights: give .*'),
    (f'{HEAD}scale=0', 'scale=0 is not positive: give a number above 0'),
    (f'{HEAD}modulation_gamma=0',
     'modulation_gamma=0 is not positive: give a number above 0'),
    ('model.neck.beta=0',
     'beta=0 makes no temperatures: give a positive number, such as 0.6'),
], ids=lambda value: value.split('=')[0][-24:] if '=' in value else '')
def test_one_sentence_says_what_is_wrong_and_what_to_do(
        folder: Path, option: str, message: str) -> None:
    expected = message.format(folder=folder)
    pattern = (expected if expected.endswith('.*') else re.escape(expected))
    assert re.fullmatch(pattern, run(folder, option))


def test_a_spoiled_cache_is_named_and_made_anew(
        folder: Path, capfd: pytest.CaptureFixture) -> None:
    def warnings() -> list[str]:
        capfd.readouterr()
        done = tool('test.py', str(folder / 'config.py'),
                    str(folder / 'model.pth'), '--work-dir',
                    str(folder / 'work'))
        assert done.returncode == 0, done.stderr[-3000:]
        said = done.stdout + done.stderr + ''.join(capfd.readouterr())
        return [line for line in said.splitlines()
                if 'are not used, because' in line]

    assert not warnings()
    for path in (folder / 'cache').rglob('*.safetensors'):
        path.write_bytes(path.read_bytes()[:-4])
    found, = warnings()
    assert re.search(r'The cached class features .*\.safetensors are not '
                     r'used, because the file cannot be read .*: they are '
                     'computed anew and the file is replaced', found)
    assert not warnings()


def test_checkpoints_of_other_shapes_are_not_merged(folder: Path) -> None:
    cfg = Config.fromfile(folder / 'config.py')
    cfg.model.neck.num_layers = 2
    cfg.model.neck.max_frames = 20
    with DefaultScope.overwrite_default_scope('mmaction'):
        other = MODELS.build(cfg.model)
    torch.save(dict(state_dict=other.state_dict()), folder / 'other.pth')
    out = folder / 'merged.pth'
    done = plain_tool('merge_experts.py', folder / 'model.pth',
                      folder / 'other.pth', out)
    assert re.fullmatch(
        r'.*do not hold the same model, \d+ only in .*model\.pth '
        r'\(neck\.resblocks\.2\..*\); 1 of another shape \(neck\..* and '
        r'\(20, 24\)\): give checkpoints of one config', done.error)
    assert not out.exists()
