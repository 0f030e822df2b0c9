"""The annotations that owners publish become the lists that configs read."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmaction.registry import DATASETS
from mmengine.registry import init_default_scope

from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.run import mmaction_tools
from tests import toy_data_sets
from tests.scripts import Finished, plain_tool, working_in
from tests.toy_videos import cut


def official(*args: object) -> Finished:
    return plain_tool('data/official_lists.py', *args)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize('name', ['kinetics600', 'sthv1', 'sthv2', 'ucf101',
                                  'hmdb51'])
def test_lists_have_our_labels_and_paths_below_the_folder(name, tmp_path):
    expected = getattr(toy_data_sets, name)(tmp_path)
    done = official(name, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name: lines(path) for path in tmp_path.glob('*.txt')
            } == expected
    for file, content in expected.items():
        assert f'{file}: {len(content)} of {len(content)} videos, ' in (
            done.stdout)


def test_lists_are_written_below_data_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = toy_data_sets.sthv1(Path('data/sthv1'))
    assert official('sthv1').returncode == 0
    assert all(Path('data/sthv1', name).is_file() for name in expected)


# -- what MMAction2's own script writes -------------------------------------


def as_mmaction2_has_them(name: str) -> tuple[str, ...]:
    """Give annotations MMAction2's names; options of its script."""
    folder = Path('data', name, 'annotations')
    if name in ('ucf101', 'hmdb51'):
        for path in list(folder.glob('*/*.txt')):
            shutil.copy(path, folder)
        return '--level', '2', '--format', 'videos'
    if name == 'kinetics400':
        for split, source in (('train', 'train'), ('val', 'val'),
                              ('test', 'val')):
            shutil.copy(folder / f'{source}.csv',
                        folder / f'kinetics_{split}.csv')
        return '--level', '1', '--format', 'videos', '--num-split', '1'
    stem = f'something-something-v{name[-1]}'
    names = class_names(name)
    if name == 'sthv1':
        (folder / f'{stem}-labels.csv').write_text('\n'.join(names))
        (folder / f'{stem}-test.csv').write_text('')
        return '--level', '1', '--num-split', '1', '--rgb-prefix', '0'
    for word in ('train', 'validation'):
        shutil.copy(folder / f'{word}.json', folder / f'{stem}-{word}.json')
    (folder / f'{stem}-labels.json').write_text(json.dumps(
        {name: str(label) for label, name in enumerate(names)}))
    (folder / f'{stem}-test.json').write_text('[]')
    return '--level', '1', '--format', 'videos', '--num-split', '1'


@pytest.mark.parametrize('name, videos', [
    ('kinetics400', 'videos_train'), ('sthv1', 'rawframes'),
    ('sthv2', 'videos'), ('ucf101', 'videos'), ('hmdb51', 'videos')])
def test_lists_are_those_of_mmaction2(name: str, videos: str, tmp_path,
                                      monkeypatch):
    monkeypatch.chdir(tmp_path)
    make: Callable = getattr(toy_data_sets, name)
    make(Path('data', name), **({} if name == 'sthv1' else dict(shots=2)))
    assert official(name, '--skip-missing').returncode == 0
    options = as_mmaction2_has_them(name)
    Path('theirs', name).mkdir(parents=True)
    tools = mmaction_tools()
    monkeypatch.setattr(sys, 'path', [*sys.path, str(tools.parent)])
    monkeypatch.setattr(sys, 'argv', [
        'build_file_list.py', name, f'data/{name}/{videos}', *options,
        '--out-root-path', 'theirs/'])
    with working_in(tmp_path):
        runpy.run_path(str(tools / 'data' / 'build_file_list.py'),
                       run_name='__main__')
    theirs = list(Path('theirs', name).iterdir())
    assert len(theirs) == (1 if '--num-split' in options else 6)
    for path in theirs:
        ours = lines(Path('data', name, path.name))
        assert ours and sorted(ours) == sorted(lines(path))


# -- names of files and folders ---------------------------------------------


def small_kinetics(root: Path, *files: str) -> None:
    """Two validation clips, and whatever files."""
    (root / 'annotations').mkdir(parents=True)
    (root / 'annotations' / 'validate.csv').write_text(
        'label,youtube_id,time_start,time_end,split\n'
        '"massaging person\'s head",-aaaaaaaaa_,5.0,15.0,val\n'
        'air drumming,bbbbbbbbbbb,7,17,val\n')
    for file in files:
        path = root / 'videos_val' / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('x')


@pytest.mark.parametrize('files', [
    ('-aaaaaaaaa__000005_000015.mp4', 'bbbbbbbbbbb_000007_000017.mkv'),
    ("massaging person's head/-aaaaaaaaa__000005_000015.mp4",
     'air_drumming/part 1/bbbbbbbbbbb_000007_000017.webm'),
    ('-aaaaaaaaa_.mp4', 'bbbbbbbbbbb.mp4')])
def test_videos_of_kinetics_are_found_in_any_folder_by_name(files, tmp_path):
    small_kinetics(tmp_path, *files)
    done = official('kinetics400', tmp_path, '--split', 'val')
    assert done.returncode == 0, done.stderr
    written = tmp_path / 'kinetics400_val_list_videos.txt'
    names = class_names('k400')
    assert lines(written) == [
        f'{files[0]} {names.index("massaging person" + chr(39) + "s head")}',
        f'{files[1]} {names.index("air drumming")}']
    assert '2 of 400 classes' in done.stdout
    init_default_scope('mmaction')
    dataset = DATASETS.build(dict(
        type='VideoDataset', ann_file=str(written), pipeline=[],
        data_prefix=dict(video=str(tmp_path / 'videos_val'))))
    assert all(Path(dataset.get_data_info(place)['filename']).is_file()
               for place in (0, 1))


def test_the_folder_and_the_videos_may_be_links(tmp_path):
    """As cvdfoundation's script arranges videos by class."""
    small_kinetics(tmp_path)
    for place in ('store', 'by_class/zumba'):
        (tmp_path / place).mkdir(parents=True)
    for file in ('-aaaaaaaaa_.mp4', 'bbbbbbbbbbb.mp4'):
        (tmp_path / 'store' / file).write_text('x')
        (tmp_path / 'by_class' / 'zumba' / file).symlink_to(
            tmp_path / 'store' / file)
    (tmp_path / 'videos_val').symlink_to('by_class')
    done = official('kinetics400', tmp_path, '--split', 'val')
    assert done.returncode == 0, done.stderr
    # The annotations, not the folder, say what a video shows.
    assert lines(tmp_path / 'kinetics400_val_list_videos.txt') == [
        'zumba/-aaaaaaaaa_.mp4 196', 'zumba/bbbbbbbbbbb.mp4 1']


def test_only_the_lists_of_a_split_are_written(tmp_path):
    toy_data_sets.hmdb51(tmp_path, shots=2)
    assert official('hmdb51', tmp_path, '--split', 'val').returncode == 0
    assert sorted(path.name for path in tmp_path.glob('*.txt')) == [
        f'hmdb51_val_split_{number}_videos.txt' for number in (1, 2, 3)]
    assert 'no list of hmdb51 for --split test' in official(
        'hmdb51', tmp_path, '--split', 'test').error


def test_annotations_may_be_renumbered_or_in_any_order(tmp_path):
    """Labels come from names: numbers of the annotations are not read."""
    expected = toy_data_sets.ucf101(tmp_path, shots=2)
    for path in tmp_path.glob('annotations/*/trainlist*.txt'):
        path.write_text(''.join(
            f'{line.split()[0]} 7\n' for line in reversed(lines(path))))
    assert official('ucf101', tmp_path).returncode == 0
    for name, content in expected.items():
        assert sorted(lines(tmp_path / name)) == sorted(content)


# -- missing and broken videos ----------------------------------------------


def test_a_missing_video_is_an_error_or_left_out_and_counted(tmp_path):
    expected = toy_data_sets.sthv2(tmp_path, shots=1)
    (tmp_path / 'videos' / '3.webm').unlink()
    (tmp_path / 'videos' / '5.webm').unlink()
    done = official('sthv2', tmp_path)
    assert done.error == (
        f'2 of 174 videos of sthv2_train_list_videos.txt are not in '
        f'{tmp_path}/videos, 3 the first: complete the download, or add '
        '--skip-missing to leave them out')
    assert not list(tmp_path.glob('*.txt'))
    done = official('sthv2', tmp_path, '--skip-missing')
    assert ('sthv2_train_list_videos.txt: 172 of 174 videos, 172 of 174 '
            'classes; 2 missing, 0 broken\n') in done.stdout
    train, val = expected.values()
    assert lines(tmp_path / 'sthv2_train_list_videos.txt') == [
        line for line in train if line[:6] not in ('3.webm', '5.webm')]
    assert lines(tmp_path / 'sthv2_val_list_videos.txt') == val


def test_a_folder_without_frames_is_missing(tmp_path):
    toy_data_sets.sthv1(tmp_path)
    shutil.rmtree(tmp_path / 'rawframes' / '2')
    (tmp_path / 'rawframes' / '2').mkdir()
    (tmp_path / 'rawframes' / '3' / '00020.jpg').unlink()
    done = official('sthv1', tmp_path, '--skip-missing')
    assert done.stdout.count(' 1 missing') == 1
    written = lines(tmp_path / 'sthv1_train_list_rawframes.txt')
    assert written[:3] == ['1 20 0', '3 19 2', '4 20 3']


def test_broken_videos_are_left_out_of_every_list(tmp_path):
    toy_data_sets.hmdb51(tmp_path, shots=2)
    # One of each kind, so that few are read.
    for folder in (tmp_path / 'videos').iterdir():
        if folder.name != 'wave':
            shutil.rmtree(folder)
    bad = 'a_film_wave_u_nm_np1_ba_goo_1.avi'
    (tmp_path / 'videos' / 'wave' / bad).unlink()
    cut(tmp_path / 'one.avi', tmp_path / 'videos' / 'wave' / bad, 0.1)
    # Nothing is read for hours where the lists will not be written.
    done = official('hmdb51', tmp_path, '--check')
    assert '100 of 102 videos' in done.error
    assert 'Left out' not in done.stdout
    done = official('hmdb51', tmp_path, '--skip-missing', '--check')
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('Left out: ') == 1
    assert bad in done.stdout
    assert ('hmdb51_train_split_2_videos.txt: 1 of 102 videos, 1 of 51 '
            'classes; 100 missing, 1 broken\n') in done.stdout
    assert bad not in ''.join(path.read_text()
                              for path in tmp_path.glob('*.txt'))


def test_frames_are_not_checked_as_videos(tmp_path):
    assert '--check reads video files' in official(
        'sthv1', tmp_path, '--check').error


def test_what_exists_stays_unless_asked(tmp_path):
    small_kinetics(tmp_path, '-aaaaaaaaa_.mp4', 'bbbbbbbbbbb.mp4')
    written = tmp_path / 'kinetics400_val_list_videos.txt'
    written.write_text('mine\n')
    args = ('kinetics400', tmp_path, '--split', 'val')
    assert 'exists already' in official(*args).error
    assert lines(written) == ['mine']
    assert official(*args, '--force').returncode == 0
    assert len(lines(written)) == 2


# -- what may be wrong ------------------------------------------------------


def test_an_unknown_class_is_named_with_its_line(tmp_path):
    small_kinetics(tmp_path, 'bbbbbbbbbbb.mp4')
    path = tmp_path / 'annotations' / 'validate.csv'
    path.write_text(path.read_text().replace('air drumming', 'air biting'))
    assert official('kinetics400', tmp_path, '--split', 'val').error == (
        f"{path}, line 3: 'air biting' is no class of k400: take the "
        'annotations of this data set')


@pytest.mark.parametrize('content, message', [
    ('youtube_id,time_start\nbbbbbbbbbbb,7\n', "has no column 'label'"),
    ('label,youtube_id,time_start,time_end\nzumba,bbbbbbbbbbb,,17\n',
     'line 2 has no times')])
def test_another_csv_is_refused(content, message, tmp_path):
    small_kinetics(tmp_path, 'bbbbbbbbbbb.mp4')
    (tmp_path / 'annotations' / 'validate.csv').write_text(content)
    assert message in official('kinetics400', tmp_path, '--split', 'val'
                               ).error


@pytest.mark.parametrize('content, message', [
    ('<html>', 'train.json is not JSON'),
    ('[{"id": "1"}]', 'entry 1 has no id or no template'),
    ('{"Closing something": "0"}', 'entry 1 has no id or no template')])
def test_another_json_is_refused(content, message, tmp_path):
    toy_data_sets.sthv2(tmp_path, shots=1)
    (tmp_path / 'annotations' / 'train.json').write_text(content)
    assert message in official('sthv2', tmp_path).error


def test_what_is_not_there_is_named(tmp_path):
    assert official('ucf101', tmp_path).error == (
        f'the folder {tmp_path}/videos does not exist: put the videos there, '
        'or a link to them')
    (tmp_path / 'videos').mkdir()
    assert official('ucf101', tmp_path).error == (
        f'{tmp_path}/annotations holds no trainlist01.txt: unpack the data '
        "set's annotations there")


def test_a_folder_without_any_of_the_videos_is_refused(tmp_path):
    small_kinetics(tmp_path, 'ccccccccccc.mp4')
    assert official('kinetics400', tmp_path, '--split', 'val',
                    '--skip-missing').error == (
        'none of the 2 videos of kinetics400_val_list_videos.txt is in '
        f'{tmp_path}/videos_val, not even -aaaaaaaaa__000005_000015: correct '
        'the folder, or the annotations')


def test_annotations_without_videos_are_refused(tmp_path):
    toy_data_sets.ucf101(tmp_path, shots=2)
    path, = tmp_path.glob('annotations/*/testlist02.txt')
    path.write_text('\n')
    assert official('ucf101', tmp_path).error == (
        'the annotations name no video of ucf101_val_split_2_videos.txt: take '
        'those of this data set')
