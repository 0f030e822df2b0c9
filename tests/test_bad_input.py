"""Bad input ends a script with one sentence: what is wrong, what to do.

Through ``tools/train.py`` and ``tools/test.py``, in this process. Settings
and ``weights=`` that are wrong have their tests beside the scripts and the
encoders; here is what comes from files, and what crosses a worker.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmvidadapt.compat.checkpoints import read_checkpoint
from tests.scripts import (
    Finished,
    tool,
    video_config,
    write_list,
    write_videos,
)
from tests.toy_videos import cut, index_first, write_video

K400 = 'inti/vitb_k400.py'
NUM_VIDEOS = 6
FETCH = ('; fetch or encode the file again, or take it out of the list of '
         'videos')


@pytest.fixture(scope='module')
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of sound, broken and short video files."""
    folder = tmp_path_factory.mktemp('videos')
    write_videos(folder, NUM_VIDEOS)
    (folder / 'empty.mp4').touch()
    cut(folder / '0.mp4', folder / 'truncated.mp4', 0.5)
    long = write_video(folder / 'long.mp4', 60)
    # As after a broken download whose space was reserved: only the decoder
    # can tell.
    cut(index_first(long, folder / 'indexed.mp4'), folder / 'hollow.mp4',
        0.5, same_size=True)
    write_video(folder / 'short.mp4', 10)
    (folder / 'page.mp4').write_text('<!DOCTYPE html><title>Sign in</title>')
    return folder


def tiny(folder: Path, videos: Path, lines: list[str] | None = None,
         **changes: object) -> str:
    """A tiny K400 config; the list holds sound videos and ``lines``."""
    ann_file = videos / 'list.txt'
    if lines is not None:
        sound = (videos / 'list.txt').read_text().splitlines()
        ann_file = write_list(folder, sound + lines)
    return video_config(K400, folder, ann_file, videos, **changes)


def train(config: str, work_dir: Path, *options: str,
          resume: str = '') -> Finished:
    """Train without validation."""
    extra = ['--resume', resume] if resume else []
    return tool('train.py', config, '--work-dir', str(work_dir),
                '--no-validate', *extra, '--cfg-options', *options)


def run_test(config: str, checkpoint: Path, work_dir: Path,
             *options: str) -> Finished:
    """Test a checkpoint."""
    return tool('test.py', config, str(checkpoint), '--work-dir',
                str(work_dir), '--cfg-options', *options)


@pytest.fixture(scope='module')
def checkpoint(videos: Path, tmp_path_factory: pytest.TempPathFactory
               ) -> Path:
    """What a tiny run on sound videos saved."""
    folder = tmp_path_factory.mktemp('sound')
    done = train(tiny(folder, videos), folder / 'work')
    assert done.returncode == 0, done.stderr
    return folder / 'work' / 'epoch_1.pth'


# Frame counts and insertion points


def test_frames_that_become_odd_between_two_adapters_are_refused(
        tmp_path: Path, videos: Path) -> None:
    config = tiny(tmp_path, videos, model__backbone__num_frames=14)
    assert re.search(r'InTI before block 7 .*7 frames.*(even|pad_odd)',
                     train(config, tmp_path / 'work').error)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_pipeline_of_an_odd_frame_count_is_refused(
        workers: int, tmp_path: Path, videos: Path,
        checkpoint: Path) -> None:
    config = tiny(tmp_path, videos,
                  train_dataloader__num_workers=workers)
    option = '{}_dataloader.dataset.pipeline.1.clip_len=15'
    done = train(config, tmp_path / 'work', option.format('train'))
    assert re.search(r'clips of 15 frames .* num_frames=16: change clip_len',
                     done.error), done.error
    message = r'InTI .*block 5 .*15 frames.*(even|pad_odd)'
    if not workers:
        done = run_test(config, checkpoint, tmp_path / 'work',
                        option.format('test'))
        assert re.search(message, done.error), done.error


def test_an_adapter_at_an_unknown_insertion_point_is_refused(
        tmp_path: Path, videos: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'my_adapter.py').write_text(
        'from mmaction.registry import MODELS\n'
        'from mmvidadapt.models.adapters import Adapter\n\n\n'
        '@MODELS.register_module(force=True)\n'
        'class MyAdapter(Adapter):\n'
        "    point = 'after_block'\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = tiny(tmp_path, videos, custom_imports__imports=[
        'mmvidadapt', 'my_adapter'])
    done = train(config, tmp_path / 'work',
                 'model.backbone.adapters.0.type=MyAdapter')
    assert ("MyAdapter asks for the unknown insertion point 'after_block': "
            'use one of pre_block, attn_proj, ') in done.error


# Names in a config


@pytest.mark.parametrize('option, message', [
    ('bakbone={}', "Recognizer3D has no option 'bakbone': use backbone"),
    ('adapter={}', "Recognizer3D has no option 'adapter': it is one of "
     'VideoTextRecognizer'),
    ('backbone.encoder.adapters=[]', "CLIPVisionEncoder has no option "
     "'adapters': it is one of CLIPViT and SideCLIPViT"),
    ('backbone.adapter=[]', "CLIPViT has no option 'adapter': use adapters"),
    ('cls_head.colour=1', "LinearHead has no option 'colour': use "
     'num_classes, in_channels, '),
    ('cls_head.type=TextHead', "TextHead needs 'classes': add it in the "),
    ('neck.type=Mote', 'no model is called Mote: use MoTE, or name the '
     'module that registers it in custom_imports'),
    ('neck.type=Magic', 'no model is called Magic: correct its name, or'),
    ('neck=[dict(type=MoTE)]', 'neck is a list of 1: a recognizer has one'),
])
def test_a_wrong_name_in_the_model_is_told_what_to_use(
        option: str, message: str, tmp_path: Path, videos: Path) -> None:
    done = train(tiny(tmp_path, videos), tmp_path / 'work',
                 *f'model.{option}'.split())
    assert done.returncode == 1
    assert done.error.startswith(message)


def test_a_fault_of_the_program_keeps_its_traceback(
        tmp_path: Path, videos: Path) -> None:
    with pytest.raises(TypeError, match=r'^empty\(\)'):
        train(tiny(tmp_path, videos), tmp_path / 'work',
              'model.cls_head.num_classes=many')


# Checkpoints


class _Foreign:

    def __reduce__(self) -> tuple:
        return os.mkdir, ('pwned', )


def _truncated(path: Path, sound: Path) -> None:
    cut(sound, path, 0.5)


def _web_page(path: Path, sound: Path) -> None:
    path.write_text('<!DOCTYPE html><title>Not found</title>')


def _foreign(path: Path, sound: Path) -> None:
    torch.save(dict(state_dict=_Foreign()), path)


def _empty(path: Path, sound: Path) -> None:
    path.touch()


def _other_model(path: Path, sound: Path) -> None:
    saved = read_checkpoint(sound)
    saved['state_dict'] = {
        key: value for key, value in saved['state_dict'].items()
        if '.adapters.' not in key}
    torch.save(saved, path)


@pytest.mark.parametrize('write, message', [
    (_truncated, r'bad\.pth is truncated or damaged \(\d+ bytes\): download '
     'or copy it again'),
    (_web_page, r'bad\.pth is a web page, not a checkpoint: download the '
     'file itself'),
    (_foreign, r'bad\.pth is refused because it asks for \w+\.mkdir.*: load '
     'a file that holds tensors'),
    (_empty, r'bad\.pth is empty: download or copy it again'),
    (_other_model, r"does not fit 'backbone' \(CLIPViT\): \d+ missing "
     r'\(backbone\.adapters\..* Load the checkpoint that was trained with '
     'this config')])
def test_a_wrong_checkpoint_is_named(
        write: Callable[[Path, Path], None], message: str, tmp_path: Path,
        videos: Path, checkpoint: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / 'bad.pth'
    write(bad, checkpoint)
    config = tiny(tmp_path, videos)
    for done in (run_test(config, bad, tmp_path / 'work'),
                 train(config, tmp_path / 'work', resume=str(bad)),
                 train(config, tmp_path / 'work', f'load_from={bad}')):
        assert re.search(message, done.error), done.error
        assert 'acc/top1' not in done.stdout
    assert not (tmp_path / 'pwned').exists()
    assert not list((tmp_path / 'work').rglob('*.pth'))


# Videos

BROKEN = {
    'missing.mp4': 'does not exist',
    'empty.mp4': r'is empty \(zero bytes\)',
    'truncated.mp4': r'is truncated: its header announces \d+ bytes, the '
    r'file has \d+',
    'hollow.mp4': '(has packets that )?cannot be (read|decoded)',
    'page.mp4': 'is no video but a web page',
}


def test_training_leaves_broken_videos_out_and_counts_them(
        tmp_path: Path, videos: Path) -> None:
    config = tiny(tmp_path, videos, [f'{name} 0' for name in BROKEN],
                  custom_hooks__0__max_broken=len(BROKEN))
    done = train(config, tmp_path / 'work')
    assert done.returncode == 0, done.stderr
    for name, fault in BROKEN.items():
        assert re.search(f'Left out broken video number [1-5]: .*{name} '
                         f'{fault}.*{FETCH}', done.stdout), (name, done.stdout)
    assert '5 broken training videos were left out so far (5 are allowed)' \
        in done.stdout
    # No batch is smaller for it.
    assert f'[{(NUM_VIDEOS + len(BROKEN) + 1) // 2}/6]' in done.stdout


@pytest.mark.parametrize('workers', [0, 2])
def test_training_stops_when_more_are_broken_than_allowed(
        workers: int, tmp_path: Path, videos: Path) -> None:
    config = tiny(tmp_path, videos, [f'{name} 0' for name in BROKEN],
                  custom_hooks__0__max_broken=3,
                  train_dataloader__num_workers=workers)
    error = train(config, tmp_path / 'work').error
    assert re.match(r'4 training videos cannot be read, 3 are allowed; the '
                    'last one: ', error), error
    assert re.search('|'.join(f'{name} {fault}'
                              for name, fault in BROKEN.items()), error)
    assert error.endswith('raise max_broken of SampleGuardHook.')


def test_testing_names_a_broken_video(tmp_path: Path, videos: Path,
                                      checkpoint: Path) -> None:
    for workers, (name, fault) in enumerate(BROKEN.items()):
        ann_file = write_list(tmp_path, ['0.mp4 0', f'{name} 1'], 'test.txt')
        config = video_config(
            K400, tmp_path, ann_file, videos,
            test_dataloader__num_workers=2 * (workers % 2))
        done = run_test(config, checkpoint, tmp_path / 'work')
        assert re.match(f'{videos}/{name} {fault}', done.error), done.error
        assert FETCH in done.error
        assert 'acc/top1' not in done.stdout


def test_a_video_shorter_than_asked_for_is_used_and_said(
        tmp_path: Path, videos: Path, checkpoint: Path) -> None:
    ann_file = write_list(tmp_path, ['short.mp4 0'] * 2)
    config = video_config(K400, tmp_path, ann_file, videos)
    for done in (train(config, tmp_path / 'work'),
                 run_test(config, checkpoint, tmp_path / 'work')):
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(
            'short.mp4 has 10 frames, fewer than the 16 asked for: frames '
            'are repeated; ask for fewer frames or take short videos out of '
            'the list of videos') == 1, done.stdout


# Lists


@pytest.mark.parametrize('lines, message', [
    (['0.mp4 0', '1.mp4 400'],
     r'list\.txt, line 2 \(.*1\.mp4\): label 400 is outside the 400 classes '
     r'\(0 to 399\): correct it in the annotation file, or set num_classes '
     'of the head to at least 401'),
    (['0.mp4 -2'], r'line 1 .*label -2 is outside .*: give every video a '
     'class number, counted from 0'),
    ([], r'list\.txt is empty: write one line for each video'),
    (None, r'the annotation list .*list\.txt does not exist: correct ann_file '
     'of the data set')])
def test_a_wrong_list_is_named_with_its_line(
        lines: list[str] | None, message: str, tmp_path: Path, videos: Path,
        checkpoint: Path) -> None:
    ann_file = tmp_path / 'list.txt'
    if lines is not None:
        write_list(tmp_path, lines)
    config = video_config(K400, tmp_path, ann_file, videos)
    # Trained on sound videos, the list is that of validation.
    sound = f'train_dataloader.dataset.ann_file={videos / "list.txt"}'
    work = tmp_path / 'work'
    for done in (train(config, work), run_test(config, checkpoint, work),
                 tool('train.py', config, '--work-dir', str(work),
                      '--cfg-options', sound)):
        assert re.search(message, done.error), done.error
    assert not list(work.rglob('*.pth'))


# Resuming


def losses(done: Finished, epoch: int) -> list[str]:
    """What was logged of an epoch, without times."""
    assert done.returncode == 0, done.stderr
    return [re.sub(r'(time|data_time|eta): \S+', '', line)
            .partition('Epoch(train)')[2]
            for line in done.stdout.splitlines()
            if re.search(rf'Epoch\(train\) +\[{epoch}\]', line)]


def test_a_resumed_run_repeats_the_uninterrupted_one_to_the_bit(
        tmp_path: Path, videos: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    # Colour jitter, MultiScaleCrop, flips, mixup; six videos in batches of
    # two are no multiple of the eight accumulated steps of the config.
    config = tiny(
        tmp_path, videos, train_cfg__max_epochs=2,
        train_dataloader__num_workers=2,
        train_dataloader__persistent_workers=True,
        param_scheduler__0__warmup=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train(config, tmp_path / 'whole')
        # All that a stopped run leaves is its checkpoint.
        (tmp_path / 'half').mkdir()
        shutil.copy(tmp_path / 'whole' / 'epoch_1.pth', tmp_path / 'half')
        resumed = train(config, tmp_path / 'half',
                        resume=str(tmp_path / 'half' / 'epoch_1.pth'))
    finally:
        torch.set_num_threads(threads)
    assert len(losses(whole, 2)) == NUM_VIDEOS // 2
    assert losses(resumed, 1) == []
    assert losses(resumed, 2) == losses(whole, 2)
    first, second, repeated = (
        read_checkpoint(tmp_path / name)['state_dict']
        for name in ('whole/epoch_1.pth', 'whole/epoch_2.pth',
                     'half/epoch_2.pth'))
    assert any(not torch.equal(first[key], second[key]) for key in first)
    for key, value in second.items():
        assert torch.equal(repeated[key], value), key
