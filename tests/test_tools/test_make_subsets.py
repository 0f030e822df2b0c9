"""Few-shot and base-to-novel lists, drawn once and saved."""

import re
from collections import Counter
from pathlib import Path

import pytest
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.datasets.class_lists import class_names
from tests.conftest import ROOT
from tests.scripts import Finished, plain_tool, write_list

DOC = (ROOT / 'docs' / 'protocols.md').read_text()
NAMES = ['run', 'Jump Up', 'sit, "down"', 'walk', 'wave']
#: Videos of each class; walk and sit have most.
COUNTS = [4, 5, 8, 9, 3]
#: What seed 1 draws, written down once.
DRAWN = ['c4/clip 0.mp4 4', 'c1/clip 1.mp4 1', 'c0/clip 2.mp4 0',
         'c2/clip 5.mp4 2', 'c3/clip 8.mp4 3']


def subsets(*args: object) -> Finished:
    return plain_tool('data/make_subsets.py', *args)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def labels(path: Path) -> Counter:
    return Counter(int(line.rsplit(' ', 1)[1]) for line in lines(path))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A list whose classes take turns; paths have spaces."""
    return write_list(tmp_path, [
        f'c{label}/clip {place}.mp4 {label}' for place in range(max(COUNTS))
        for label, number in enumerate(COUNTS) if place < number])


@pytest.fixture
def names(tmp_path: Path) -> Path:
    return write_list(tmp_path, NAMES, 'names.txt')


# -- few-shot ---------------------------------------------------------------


def test_few_shot_lists_hold_k_videos_of_each_class(full, tmp_path):
    done = subsets('few-shot', full, tmp_path / 'out', '--shots', 1, 3,
                   '--seeds', 5, 6)
    assert done.returncode == 0, done.stderr
    written = {path.name: path for path in (tmp_path / 'out').iterdir()}
    assert sorted(written) == ['shots1_seed5.txt', 'shots1_seed6.txt',
                               'shots3_seed5.txt', 'shots3_seed6.txt']
    everything = lines(full)
    for name, path in written.items():
        shots = int(name[5])
        assert labels(path) == {label: shots for label in range(5)}
        # Lines and their order are those of the full list.
        drawn = lines(path)
        assert drawn == [line for line in everything if line in drawn]


def test_seeds_draw_different_videos_and_more_shots_add_to_fewer(full,
                                                                 tmp_path):
    out = tmp_path / 'out'
    subsets('few-shot', full, out, '--shots', 1, 2, 3)
    one, two, three = (set(lines(out / f'shots{k}_seed1.txt'))
                       for k in (1, 2, 3))
    assert one < two < three
    assert len({tuple(lines(out / f'shots2_seed{seed}.txt'))
                for seed in (1, 2, 3)}) == 3


def test_a_draw_is_repeatable_and_knows_nothing_of_other_classes(full,
                                                                 tmp_path):
    subsets('few-shot', full, tmp_path / 'a', '--shots', 2)
    # Another order, and one class more.
    full.write_text('\n'.join([f'new/{n}.mp4 5' for n in range(3)]
                              + lines(full)[::-1]) + '\n')
    subsets('few-shot', full, tmp_path / 'b', '--shots', 2)
    first = set(lines(tmp_path / 'a' / 'shots2_seed1.txt'))
    second = set(lines(tmp_path / 'b' / 'shots2_seed1.txt'))
    assert {line for line in second if not line.startswith('new')} == first


def test_what_a_seed_draws_stays_the_same_in_every_version(full, tmp_path):
    subsets('few-shot', full, tmp_path / 'out', '--shots', 1)
    assert lines(tmp_path / 'out' / 'shots1_seed1.txt') == DRAWN


def test_a_line_that_is_there_twice_is_one_video(tmp_path):
    full = write_list(tmp_path, ['a.mp4 0', 'a.mp4 0', 'b.mp4 0'])
    assert 'class 0 has 2 videos' in subsets(
        'few-shot', full, tmp_path / 'out', '--shots', 3).error


def test_lists_of_frame_folders_are_drawn_from_too(tmp_path):
    frames = write_list(tmp_path, [f'v {n}.avi {30 + n} {n % 2}'
                                   for n in range(6)])
    done = subsets('few-shot', frames, tmp_path / 'a', '--rawframes',
                   '--shots', 2)
    assert done.returncode == 0, done.stderr
    assert labels(tmp_path / 'a' / 'shots2_seed1.txt') == {0: 2, 1: 2}
    offsets = write_list(tmp_path, [f'v{n} 7 {30 + n} {n % 2}'
                                    for n in range(6)])
    done = subsets('few-shot', offsets, tmp_path / 'b', '--rawframes',
                   '--with-offset', '--shots', 3)
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / 'b' / 'shots3_seed1.txt') == lines(offsets)
    # Without the option it is one number too many.
    assert '3 numbers end the line' in subsets(
        'few-shot', offsets, tmp_path / 'c', '--rawframes').error


def test_the_documented_config_trains_as_long_as_on_all_videos(full,
                                                               tmp_path):
    init_default_scope('mmaction')
    done = subsets('few-shot', full, tmp_path / 'data', '--shots', 2,
                   '--seeds', 1)
    times = int(re.search(r'RepeatDataset with times=(\d+)', done.stdout)[1])
    assert times == sum(COUNTS) // 10
    text = re.search(r'<!-- file: few_shot.py -->\n```python\n(.*?)```', DOC,
                     re.DOTALL)[1]
    for old, new in (('configs/', f'{ROOT}/configs/'),
                     ('data/few_shot/shots16_seed1.txt',
                      str(tmp_path / 'data' / 'shots2_seed1.txt')),
                     ('times=5', f'times={times}')):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / 'few_shot.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'few_shot.py')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 10 * times
    assert sum(COUNTS) - 10 < len(dataset) <= sum(COUNTS)
    base = Config.fromfile(ROOT / 'configs' / 'inti' / 'vitb_k400.py')
    assert cfg.train_dataloader.dataset.dataset.pipeline == \
        base.train_dataloader.dataset.pipeline
    assert cfg.train_dataloader.batch_size == base.train_dataloader.batch_size


# -- base-to-novel ----------------------------------------------------------


@pytest.fixture
def test_list(tmp_path: Path) -> Path:
    return write_list(tmp_path, [f'test/{label} {place}.mp4 {label}'
                                 for label in range(5)
                                 for place in range(2)], 'test_list.txt')


def test_base_classes_can_be_those_of_a_list_of_the_package(tmp_path):
    full = write_list(tmp_path, [f'{label}.avi {label}'
                                 for label in range(101)])
    done = subsets('base-novel', full, tmp_path / 'out', '--classes',
                   'ucf101', '--shots', 1, '--base', 'ucf101_base')
    assert done.returncode == 0, done.stderr
    assert class_names(str(tmp_path / 'out' / 'base_classes.txt')) == (
        class_names('ucf101_base'))


def test_base_and_novel_classes_are_numbered_by_themselves(
        full, names, test_list, tmp_path):
    out = tmp_path / 'out'
    done = subsets('base-novel', full, out, '--classes', names, '--seeds', 1,
                   2, '--shots', 2, '--test', test_list)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        'base_classes.txt', 'base_shots2_seed1.txt', 'base_shots2_seed2.txt',
        'base_test.txt', 'novel_classes.txt', 'novel_test.txt']
    # Those with most videos are base classes; most come last.
    assert class_names(str(out / 'base_classes.txt')) == NAMES[1:4]
    assert class_names(str(out / 'novel_classes.txt')) == ['wave', 'run']
    for seed in (1, 2):
        path = out / f'base_shots2_seed{seed}.txt'
        assert labels(path) == {0: 2, 1: 2, 2: 2}
        for line in lines(path):
            old, new = int(line[1]), int(line[-1])
            assert old == new + 1
            assert f'{line[:-1]}{old}' in lines(full)
    assert lines(out / 'base_test.txt') == [
        f'test/{label} {place}.mp4 {label - 1}'
        for label in (1, 2, 3) for place in range(2)]
    assert lines(out / 'novel_test.txt') == [
        'test/0 0.mp4 1', 'test/0 1.mp4 1', 'test/4 0.mp4 0',
        'test/4 1.mp4 0']


def test_base_videos_are_those_of_the_few_shot_list_of_the_seed(
        full, names, tmp_path):
    subsets('few-shot', full, tmp_path / 'a', '--shots', 3)
    subsets('base-novel', full, tmp_path / 'b', '--classes', names,
            '--shots', 3)
    few = lines(tmp_path / 'a' / 'shots3_seed3.txt')
    base = lines(tmp_path / 'b' / 'base_shots3_seed3.txt')
    assert [line.rsplit(' ', 1)[0] for line in base] == [
        line.rsplit(' ', 1)[0] for line in few if line[1] in '123']


@pytest.mark.parametrize('base,expected', [
    ('first', NAMES[:3]),
    ('file', ['WALK', 'jump_up']),
])
def test_base_classes_can_be_the_first_or_those_of_a_file(
        base, expected, full, names, tmp_path):
    if base == 'file':
        base = write_list(tmp_path, expected, 'base.txt')
        expected = ['walk', 'Jump Up']  # the order of the file
    out = tmp_path / 'out'
    done = subsets('base-novel', full, out, '--classes', names, '--shots', 1,
                   '--base', base)
    assert done.returncode == 0, done.stderr
    assert lines(out / 'base_classes.txt') == expected
    assert lines(out / 'novel_classes.txt') == [
        name for name in NAMES if name not in expected]
    assert not (out / 'novel_test.txt').exists()
    for line in lines(out / 'base_shots1_seed1.txt'):
        assert NAMES[int(line[1])] == expected[int(line[-1])]


@pytest.mark.parametrize('classes', ['hmdb51', 'k400', 'sthv2', 'ucf101'])
def test_published_halves_are_those_of_the_package(classes, tmp_path):
    names = class_names(classes)
    full = write_list(tmp_path, [f'{label}/{place}.mp4 {label}'
                                 for place in range(2)
                                 for label in range(len(names))])
    out = tmp_path / 'out'
    done = subsets('base-novel', full, out, '--classes', classes, '--seeds',
                   1, '--shots', 2, '--test', full)
    assert done.returncode == 0, done.stderr
    for half, file in (('base', 'base_shots2_seed1.txt'),
                       ('base', 'base_test.txt'), ('novel', 'novel_test.txt')):
        # Labels are places in the lists that configs name.
        own = class_names(f'{classes}_{half}')
        assert lines(out / f'{half}_classes.txt') == own
        found = {(names[int(line.split('/')[0])], int(line.split()[1]))
                 for line in lines(out / file)}
        assert found == {(name, label) for label, name in enumerate(own)}


def test_of_equally_frequent_classes_the_last_are_base_classes(tmp_path):
    # ViFi-CLIP's base classes of HMDB-51 are the last 26.
    full = write_list(tmp_path, [f'{label}/{place} {label}' for place in
                                 range(16) for label in range(51)])
    out = tmp_path / 'out'
    done = subsets('base-novel', full, out, '--classes', 'hmdb51', '--seeds',
                   1, '--base', 'frequent')
    assert 'base_classes.txt: 26 classes' in done.stdout
    assert 'novel_classes.txt: 25 classes' in done.stdout
    assert lines(out / 'base_classes.txt') == class_names('hmdb51_base')
    assert len(lines(out / 'base_shots16_seed1.txt')) == 16 * 26


def test_other_classes_have_no_published_halves(full, names, tmp_path):
    assert subsets('base-novel', full, tmp_path / 'out', '--classes', names,
                   '--base', 'published').error.startswith(
        f"there is no list of classes '{names}_base': give one of")


def test_classes_of_a_half_are_numbered_from_the_rarest(names, tmp_path):
    full = write_list(tmp_path, [f'{label}{place}.mp4 {label}'
                                 for label, number in enumerate([9, 7, 7, 2,
                                                                 1])
                                 for place in range(number)])
    subsets('base-novel', full, tmp_path / 'out', '--classes', names,
            '--shots', 1)
    assert lines(tmp_path / 'out' / 'base_classes.txt') == [
        NAMES[1], NAMES[2], NAMES[0]]
    assert lines(tmp_path / 'out' / 'novel_classes.txt') == [
        NAMES[4], NAMES[3]]


# -- bad input --------------------------------------------------------------


def test_a_class_with_too_few_videos_is_named(full, names, tmp_path):
    out = tmp_path / 'out'
    error = subsets('few-shot', full, out, '--shots', 2, 4).error
    assert error == (
        'class 4 has 3 videos, fewer than the 4 of --shots: ask for fewer, '
        'or take the class out of the list')
    assert not out.exists()  # nothing of the shots that would do, either
    assert 'class 4 (wave) has 3 videos' in subsets(
        'few-shot', full, out, '--shots', 4, '--classes', names).error
    # Of the base classes: those of the novel half need no training video.
    assert 'class 1 (Jump Up) has 5 videos, fewer than the 6' in subsets(
        'base-novel', full, out, '--shots', 6, '--classes', names).error
    assert subsets('base-novel', full, out, '--shots', 5, '--classes',
                   names).returncode == 0


def test_a_class_without_videos_is_named(full, names, tmp_path):
    out = tmp_path / 'out'
    kept = [line for line in lines(full) if not line.endswith(' 2')]
    write_list(tmp_path, kept)
    assert 'class 2 has 0 videos' in subsets(
        'few-shot', full, out, '--shots', 1).error
    # The last class is missed only if the names are known.
    write_list(tmp_path, [line for line in kept if line[-1] in '01'])
    assert subsets('few-shot', full, out, '--shots', 1).returncode == 0
    assert 'class 2 (sit, "down") has 0 videos' in subsets(
        'few-shot', full, tmp_path / 'b', '--shots', 1, '--classes',
        names).error


@pytest.mark.parametrize('line,message', [
    ('a.mp4', 'line 1: there is no label: end the line with the class'),
    ('a.mp4 x', "line 1: 'x' is not an integer label"),
    ('a.mp4 -2', 'line 1: label -2 is none of the 5 classes'),
    ('a.mp4 5', 'line 1: label 5 is none of the 5 classes: labels count '
     'from 0; correct the list or --classes'),
    ('a.mp4 1 2', 'line 1: 2 labels follow the path'),
    ('', 'list.txt is empty: give a list'),
])
def test_a_line_that_is_not_understood_is_named(line, message, names,
                                                tmp_path):
    bad = write_list(tmp_path, [line])
    assert message in subsets('few-shot', bad, tmp_path / 'out', '--classes',
                              names).error


def test_a_list_that_is_not_there_is_named(tmp_path):
    error = subsets('few-shot', tmp_path / 'no.txt', tmp_path / 'out').error
    assert 'no.txt does not exist: correct the path' in error


def test_base_classes_must_be_known_and_leave_novel_ones(full, names,
                                                         tmp_path):
    out = tmp_path / 'out'
    base = write_list(tmp_path, ['walk', 'fly'], 'base.txt')
    assert "base.txt names 'fly', which is not in --classes" in subsets(
        'base-novel', full, out, '--classes', names, '--base', base).error
    assert '5 of 5 classes are base classes and none is novel' in subsets(
        'base-novel', full, out, '--classes', names, '--base', names).error
    assert 'there is no list of classes' in subsets(
        'base-novel', full, out, '--classes', names, '--base', 'most').error


def test_a_test_list_of_one_half_is_refused(full, names, tmp_path):
    tested = write_list(tmp_path, ['a.mp4 1', 'b.mp4 3'], 'test.txt')
    assert 'test.txt has no video of a novel class: give the list' in subsets(
        'base-novel', full, tmp_path / 'out', '--classes', names, '--shots',
        1, '--test', tested).error


def test_lists_are_replaced_only_on_request(full, tmp_path):
    args = ('few-shot', full, tmp_path / 'out', '--shots', 1, '--seeds', 1)
    subsets(*args)
    path = tmp_path / 'out' / 'shots1_seed1.txt'
    path.write_text('mine')
    assert 'shots1_seed1.txt exists already' in subsets(*args).error
    assert path.read_text() == 'mine'
    assert subsets(*args, '--force').returncode == 0
    assert labels(path) == {label: 1 for label in range(5)}
    assert list(path.parent.iterdir()) == [path]


def test_no_shots_at_all_are_refused(full, tmp_path):
    done = subsets('few-shot', full, tmp_path / 'out', '--shots', 0)
    assert done.returncode == 2
    assert 'argument --shots: 0 is below 1' in done.stderr
