"""Names of classes, and where the sources of a list differ."""

import csv
import json
from pathlib import Path

import pytest

from mmvidadapt.datasets import class_names
from mmvidadapt.datasets.class_lists import plain_name, written_name
from tests.conftest import ROOT

LISTS = ROOT / 'mmvidadapt' / 'datasets' / 'class_lists'

SIZES = dict(hmdb51=51, hmdb51_base=26, hmdb51_novel=25, hmdb51_msta=51,
             hmdb51_msta_base=26, hmdb51_msta_novel=25, k400=400,
             k400_base=200, k400_novel=200, k600=600, k600_zeroshot_1=160,
             k600_zeroshot_2=160, k600_zeroshot_3=160, sthv1=174, sthv2=174,
             sthv2_base=87, sthv2_novel=87, ucf101=101, ucf101_base=51,
             ucf101_novel=50)
#: Lists of ours by those that MSTA's files of descriptions refer to.
PUBLISHED = {f'{source}{half}': f'{ours}{half}'
             for source, ours in (('hmdb', 'hmdb51_msta'), ('k400', 'k400'),
                                  ('ssv2', 'sthv2'), ('ucf_101', 'ucf101'))
             for half in ('', '_base', '_novel')}


def plain(names: list[str]) -> list[str]:
    return [plain_name(name) for name in names]


def other_source(path: Path) -> list[str]:
    """Names in a file of the shared data, of either form."""
    lines = path.read_text().splitlines()
    if path.suffix == '.txt':
        return lines
    rows = list(csv.DictReader(lines))
    assert [int(row['id']) for row in rows] == list(range(len(rows)))
    return [row['name'] for row in rows]


def test_every_list_has_the_classes_of_its_data_set():
    found = {path.stem: len(class_names(path.stem))
             for path in LISTS.glob('*.txt')}
    assert found == SIZES
    assert class_names('sthv2')[86] == 'Pulling something from left to right'
    assert class_names('hmdb51')[20:22] == ['kick', 'kick_ball']


@pytest.mark.parametrize('name, file', [
    ('hmdb51', 'hmdb51_mmaction2.txt'), ('hmdb51', 'mote_hmdb51_labels.csv'),
    ('k400', 'kinetics400_mmaction2.txt'),
    ('k400', 'mote_kinetics_400_labels.csv'),
    ('k600', 'kinetics600_mmaction2.txt'),
    ('k600_zeroshot_1', 'k600_zeroshot_split1.csv'),
    ('k600_zeroshot_2', 'k600_zeroshot_split2.csv'),
    ('k600_zeroshot_3', 'k600_zeroshot_split3.csv'),
    ('sthv1', 'sthv1_mmaction2.txt'), ('sthv2', 'sthv2_mmaction2.txt'),
    ('ucf101', 'ucf101_mmaction2.txt'), ('ucf101', 'mote_ucf_labels.csv'),
])
def test_all_sources_agree_name_by_name(name, file, shared_data):
    source = other_source(shared_data / 'class_lists' / file)
    assert plain(class_names(name)) == plain(source)


@pytest.mark.parametrize('source, name', PUBLISHED.items())
def test_orders_of_mstas_files_are_those_of_its_label_lists(source, name,
                                                            shared_data):
    orders = json.loads((shared_data / 'etl4video_descriptions' /
                         'label_order.json').read_text())
    assert class_names(name) == orders[source]
    assert sorted(orders) == sorted(PUBLISHED)


def test_published_names_of_hmdb51_are_those_of_four_other_videos():
    for half, swapped in (('', [20, 21, 44, 45]), ('_base', [19, 20]),
                          ('_novel', [20, 21])):
        ours = plain(class_names(f'hmdb51{half}'))
        published = plain(class_names(f'hmdb51_msta{half}'))
        assert [place for place, pair in enumerate(zip(ours, published))
                if pair[0] != pair[1]] == swapped
        assert sorted(ours) == sorted(published)


@pytest.mark.parametrize('name', ['hmdb51', 'hmdb51_msta', 'k400', 'sthv2',
                                  'ucf101'])
def test_base_and_novel_classes_are_all_classes(name):
    halves = class_names(f'{name}_base') + class_names(f'{name}_novel')
    assert sorted(halves) == sorted(class_names(name))


def test_zero_shot_classes_are_of_kinetics_600_and_not_of_400():
    larger, smaller = plain(class_names('k600')), plain(class_names('k400'))
    assert len(set(smaller) - set(larger)) == 31  # renamed or left out
    for split in (1, 2, 3):
        chosen = set(plain(class_names(f'k600_zeroshot_{split}')))
        assert len(chosen) == 160
        assert chosen <= set(larger)
        assert not chosen & set(smaller)


def test_versions_of_something_something_number_the_same_names_otherwise():
    first, second = plain(class_names('sthv1')), plain(class_names('sthv2'))
    shared = set(first) & set(second)
    same = sum(a == b for a, b in zip(first, second))
    assert (len(shared), same) == (174, 1)


def test_names_are_compared_without_what_sources_write_differently():
    assert plain_name('ApplyEyeMakeup') == plain_name('Apply Eye-Makeup')
    assert plain_name('kick_ball') == plain_name('Kick ball')
    assert plain_name('kick') != plain_name('kick_ball')


def test_a_file_or_the_names_themselves_will_do(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('turn left\nturn right\n')
    for classes in (str(path), ['turn left', 'turn right'],
                    ('turn left', 'turn right')):
        assert class_names(classes) == ['turn left', 'turn right']


def test_an_unknown_list_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no list of classes 'k700': give "
                       'one of hmdb51, hmdb51_base, .*k400, .*k600'):
        class_names('k700')


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="0 and 2 are both named 'Kick_Ball'"):
        class_names(['kick ball', 'run', 'Kick_Ball'])


@pytest.mark.parametrize('name, content', [
    ('a.csv', 'id,name\n0,turn left\n1,"turn, then stop"\n'),
    ('a.csv', '1,"turn, then stop"\n0,turn left\n'),
    ('a.json', '["turn left", "turn, then stop"]'),
    ('a.json', '{"turn, then stop": "1", "turn left": 0}')])
def test_tables_and_json_are_read_by_label(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    assert class_names(str(path)) == ['turn left', 'turn, then stop']


@pytest.mark.parametrize('name, content, message', [
    ('a.csv', 'id,name\n0,turn left\n2,turn right\n',
     'a.csv has 2 classes and none of label 1: number them from 0 to 1'),
    ('a.csv', '0,turn left\n1,turn, then stop\n', "a.csv has the line "
     "'1,turn, then stop', which is not a label and a name: write id,name"),
    ('a.json', '{"turn left": 0, "turn right": 0}', 'none of label 1'),
    ('a.json', '{', r'a.json is not JSON \(.*: mend it'),
    ('a.json', '1', 'neither a list of names nor a dict of labels'),
    ('a.json', '["left", 1]', "a.json' has 1 for class 1, which is no name"),
    ('a.txt', 'left\n\nright\n', "a.txt' has '' for class 1, which is no "
     'name: give every class a name with letters or digits'),
    ('a.csv', 'id,name\n', "a.csv' is empty: give every class a name")])
def test_a_bad_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        class_names(str(path))


@pytest.mark.parametrize('name, written', [
    ('ApplyEyeMakeup', 'Apply Eye Makeup'), ('kick_ball', 'kick ball'),
    ('YoYo', 'YoYo'), ('TaiChi', 'Tai Chi'), (' tai  chi', 'tai chi'),
    ('iPhone', 'iPhone'), ('opening an iPhone', 'opening an iPhone')])
def test_names_are_written_as_in_a_sentence(name, written):
    assert written_name(name) == written


@pytest.mark.parametrize('name, file', [
    ('hmdb51', 'mote_hmdb51_labels.csv'),
    ('k400', 'mote_kinetics_400_labels.csv'),
    ('k600_zeroshot_1', 'k600_zeroshot_split1.csv'),
    ('ucf101', 'mote_ucf_labels.csv')])
def test_written_names_are_those_of_motes_program(name, file, shared_data):
    assert [written_name(own) for own in class_names(name)] == class_names(
        str(shared_data / 'class_lists' / file))
