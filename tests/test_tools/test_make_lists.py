"""A user's own videos become lists, labels and a config that loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from scripts import plain_tool
from toy_videos import cut, write_video

from mmvidadapt.datasets.class_lists import class_names

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools' / 'data' / 'make_lists.py'


def make_lists(*args: object) -> subprocess.CompletedProcess:
    """Run the script as a user would."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, args)], cwd=ROOT,
        capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)))


def fill(folder: Path, **classes: int) -> Path:
    """Make class folders of files that only look like videos."""
    for name, number in classes.items():
        (folder / name).mkdir(parents=True)
        for place in range(number):
            (folder / name / f'clip {place}.mp4').write_text('x')
    return folder


def lines(path: Path) -> list[str]:
    """Lines of a list."""
    return path.read_text().splitlines()


def test_class_folders_are_divided_class_by_class(tmp_path):
    source = fill(tmp_path / 'my videos', walk=10, run=5, jump=2, sit=1)
    (source / 'walk' / 'notes.txt').write_text('not a video')
    (source / '.cache').mkdir()
    out = tmp_path / 'out'
    done = make_lists(source, out)
    assert done.returncode == 0, done.stderr
    assert lines(out / 'labels.txt') == ['jump', 'run', 'sit', 'walk']
    train, val = lines(out / 'train.txt'), lines(out / 'val.txt')
    assert sorted(train + val) == sorted(
        f'{name}/clip {place}.mp4 {label}'
        for label, (name, number) in enumerate(
            [('jump', 2), ('run', 5), ('sit', 1), ('walk', 10)])
        for place in range(number))
    counts = [sum(line.endswith(f' {label}') for line in val)
              for label in range(4)]
    assert counts == [1, 1, 0, 2]  # a class of one video is trained on
    assert 'train: 14 videos of 4 classes' in done.stdout
    assert 'val: 4 videos of 3 classes' in done.stdout
    assert done.stdout.splitlines()[-1] == \
        f'Now run: python tools/train.py {out / "config.py"}'


def test_the_same_seed_divides_alike_and_another_one_otherwise(tmp_path):
    source = fill(tmp_path / 'videos', walk=20, run=20)
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        make_lists(source, tmp_path / name, '--seed', seed)
    a, b, c = (lines(tmp_path / name / 'val.txt') for name in 'abc')
    assert a == b != c
    # A further class leaves the others where they are.
    fill(source, sit=4)
    make_lists(source, tmp_path / 'd')
    d = lines(tmp_path / 'd' / 'val.txt')
    assert {line.rsplit(' ', 1)[0] for line in a} == \
        {line.rsplit(' ', 1)[0] for line in d if not line.startswith('sit')}


def test_the_share_for_validation_is_the_users(tmp_path):
    source = fill(tmp_path / 'videos', walk=20, run=10)
    make_lists(source, tmp_path / 'out', '--val-ratio', 0.5)
    val = lines(tmp_path / 'out' / 'val.txt')
    assert len(val) == 15


def test_folders_that_are_divided_already_stay_so(tmp_path):
    source = tmp_path / 'videos'
    for split, number in (('train', 3), ('val', 2), ('test', 1)):
        fill(source / split, walk=number, run=number)
    out = tmp_path / 'out'
    assert make_lists(source, out).returncode == 0
    assert lines(out / 'labels.txt') == ['run', 'walk']
    assert lines(out / 'test.txt') == ['test/run/clip 0.mp4 0',
                                       'test/walk/clip 0.mp4 1']
    assert len(lines(out / 'train.txt')) == 6
    cfg = Config.fromfile(out / 'config.py')
    assert cfg.test_dataloader.dataset.ann_file == str(out / 'test.txt')


@pytest.mark.parametrize('header', ['path,label,split\n', ''])
def test_a_csv_keeps_its_splits_and_numbers(header, tmp_path):
    source = tmp_path / 'all.csv'
    source.write_text(header + 'b/x.mp4,10,train\n"a, b.mp4",2,train\n'
                      'c.mp4,2,val\n\n')
    out = tmp_path / 'out'
    assert make_lists(source, out).returncode == 0
    assert lines(out / 'labels.txt') == ['2', '10']
    assert lines(out / 'train.txt') == ['b/x.mp4 1', 'a, b.mp4 0']
    assert lines(out / 'val.txt') == ['c.mp4 0']


def test_the_config_inherits_ours_and_reads_the_users_videos(tmp_path):
    source = tmp_path / 'my videos'
    for name in ('walk', 'run', 'sit'):
        for place in range(3):
            path = source / name / f'clip {place}.mp4'
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path)
    out = tmp_path / 'out'
    done = make_lists(source, out, '--check')
    assert done.returncode == 0, done.stderr
    assert 'Left out' not in done.stdout
    text = (out / 'config.py').read_text()
    assert len(text.splitlines()) <= 25
    cfg = Config.fromfile(out / 'config.py')
    assert cfg.model.type == 'Recognizer3D'  # inherited
    assert cfg.model.cls_head.num_classes == 3
    init_default_scope('mmaction')
    for name, number in (('train', 6), ('val', 3), ('test', 3)):
        dataset = DATASETS.build(cfg[f'{name}_dataloader'].dataset)
        assert len(dataset) == number
        assert {dataset.get_data_info(place)['label']
                for place in range(number)} == {0, 1, 2}
    assert dataset[0]['inputs'].shape[-2:] == (224, 224)


@pytest.mark.parametrize('number, modulation_k', [(4, 4), (6, None)])
def test_a_text_head_reads_the_names_of_the_folders(number, modulation_k,
                                                    tmp_path):
    names = ['clapping hands', *(f'jump {i}' for i in range(1, number))]
    source = fill(tmp_path / 'videos', **dict.fromkeys(names, 2))
    done = plain_tool('data/make_lists.py', source, tmp_path / 'out',
                      '--base', ROOT / 'configs/mote/vitb_k400.py')
    assert done.returncode == 0, done.stderr
    head = Config.fromfile(tmp_path / 'out' / 'config.py').model.cls_head
    assert class_names(head.classes) == names
    assert 'num_classes' not in head
    assert head.get('modulation_k') == modulation_k  # at most the classes


def test_check_reports_broken_videos_and_leaves_them_out(tmp_path):
    source = tmp_path / 'videos'
    for name in ('walk', 'run'):
        for place in range(3):
            path = source / name / f'{place}.mp4'
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path)
    cut(source / 'run' / '0.mp4', source / 'run' / 'half.mp4', 0.5)
    (source / 'walk' / 'empty.mp4').touch()
    out = tmp_path / 'out'
    done = make_lists(source, out, '--check')
    assert done.returncode == 0, done.stderr
    reported = [line for line in done.stdout.splitlines()
                if line.startswith('Left out: ')]
    assert len(reported) == 2
    assert 'half.mp4 is truncated: its header announces' in reported[0]
    assert 'empty.mp4 is empty (zero bytes)' in reported[1]
    written = lines(out / 'train.txt') + lines(out / 'val.txt')
    assert len(written) == 6
    assert not any('half' in line or 'empty' in line for line in written)


def test_files_are_replaced_only_if_told_so(tmp_path):
    source = fill(tmp_path / 'videos', walk=2, run=2)
    out = tmp_path / 'out'
    make_lists(source, out)
    (out / 'labels.txt').write_text('mine')
    again = make_lists(source, out)
    assert again.returncode == 2
    assert f'{out / "labels.txt"}' in again.stderr
    assert 'add --force to replace it' in again.stderr
    assert (out / 'labels.txt').read_text() == 'mine'
    assert make_lists(source, out, '--force').returncode == 0
    assert lines(out / 'labels.txt') == ['run', 'walk']


def make_csv(tmp_path: Path, text: str) -> Path:
    """A CSV of that text."""
    path = tmp_path / 'all.csv'
    path.write_text(text)
    return path


@pytest.mark.parametrize('text, message', [
    ('a.mp4\n', "line 1 is 'a.mp4': give path,label or path,label,split"),
    ('a.mp4,walk,training\n', "line 1 has the split 'training': use one of"),
    ('a.mp4,walk,train\nb.mp4,walk\n', 'for some videos only: give it for'),
    ('path,label\n', 'lists no videos: give one path,label per line'),
    ('a.mp4,walk,train\n', "No video is left for the split 'val'"),
    ('a.mp4,walk,train\nb.mp4,run,val\n', 'No training video shows run'),
])
def test_a_faulty_csv_is_refused_with_the_remedy(text, message, tmp_path):
    done = make_lists(make_csv(tmp_path, text), tmp_path / 'out')
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


ZERO_SHOT = ROOT / 'configs' / 'mote' / 'vitb_zeroshot_ucf101.py'


def test_a_config_that_only_tests_gets_one_list_of_all_videos(tmp_path):
    source = fill(tmp_path / 'unseen', walk=2, run=1, jump=1)
    out = tmp_path / 'out'
    done = make_lists(source, out, '--base', ZERO_SHOT)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {
        'config.py', 'labels.txt', 'test.txt'}
    assert lines(out / 'test.txt') == [
        'jump/clip 0.mp4 0', 'run/clip 0.mp4 1', 'walk/clip 0.mp4 2',
        'walk/clip 1.mp4 2']
    assert f'tools/test.py {out / "config.py"} CHECKPOINT' in done.stdout
    cfg = Config.fromfile(out / 'config.py')
    assert 'train_dataloader' not in cfg and 'val_dataloader' not in cfg
    assert cfg.test_dataloader.dataset.ann_file == str(out / 'test.txt')
    assert cfg.model.cls_head.classes == str(out / 'labels.txt')
    assert cfg.model.cls_head.modulation_k == 3


@pytest.mark.parametrize('text, expected', [
    ('a.mp4,walk,train\nb.mp4,run,test\nc.mp4,run,val\n', ['b.mp4 0']),
    ('a.mp4,walk,train\nb.mp4,run,val\n', ['b.mp4 0']),
    ('a.mp4,walk,train\nb.mp4,run,train\n', None)])
def test_a_config_that_only_tests_takes_no_training_videos(
        text, expected, tmp_path):
    out = tmp_path / 'out'
    done = make_lists(make_csv(tmp_path, text), out, '--base', ZERO_SHOT)
    if expected is None:
        assert 'All videos are of the split train, and --base' in done.stderr
        assert not out.exists()
    else:
        assert lines(out / 'test.txt') == expected


@pytest.mark.parametrize('args, message', [
    (('--val-ratio', 1), '--val-ratio is 1.0: give a share between 0 and 1'),
    (('--format', 'csv'), 'is a folder, --format says csv'),
    (('--base', 'none.py'), '--base none.py does not exist'),
])
def test_senseless_options_are_refused_with_the_remedy(args, message,
                                                       tmp_path):
    source = fill(tmp_path / 'videos', walk=2, run=2)
    done = make_lists(source, tmp_path / 'out', *args)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_source_without_videos_is_refused(tmp_path):
    for source, message in ((tmp_path / 'none', 'does not exist: give a'),
                            (tmp_path, 'holds no class folders with')):
        done = make_lists(source, tmp_path / 'out')
        assert done.returncode == 2
        assert message in done.stderr


def test_a_traceback_is_shown_on_request(tmp_path):
    done = make_lists(tmp_path / 'none', tmp_path / 'out', '--traceback')
    assert 'Traceback' in done.stderr
    assert 'ValueError' in done.stderr


def test_the_help_has_commands_to_paste():
    done = make_lists('--help')
    assert done.returncode == 0
    assert '\n  python tools/train.py data/mine/config.py\n' in done.stdout
