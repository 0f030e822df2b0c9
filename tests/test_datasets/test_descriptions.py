"""Descriptions of classes: every published file, and every bad one."""

import json
import re
from pathlib import Path

import pytest

from mmvidadapt.datasets import class_descriptions, class_names
from mmvidadapt.datasets.class_lists import plain_name

#: Lists of the videos by the data sets in the names of published files.
VIDEOS = dict(hmdb='hmdb51', ucf_101='ucf101', ssv2='sthv2', k400='k400')
NAMES = ['brush_hair', 'Cart Wheel', 'run']


@pytest.fixture
def published(shared_data: Path) -> Path:
    return shared_data / 'etl4video_descriptions'


def written(folder: Path, content: object, name: str = 'a.json') -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str)
                    else json.dumps(content))
    return path


def by_number(number: int) -> dict[str, list[str]]:
    """Two sentences for each class, with its number in them."""
    return {str(place): [f'one of {place}.', f'two of {place}.']
            for place in range(number)}


# -- published files --------------------------------------------------------


def test_every_published_file_describes_the_classes_of_the_videos(
        published, warnings):
    orders = json.loads((published / 'label_order.json').read_text())
    files = sorted(published.rglob('*_description_*.json'))
    assert len(files) == 26
    for path in files:
        data, half = re.fullmatch(
            r'\d_[st]_description_(.*?)(_base|_novel)?', path.stem).groups()
        classes = VIDEOS[data] + (half or '')
        found = class_descriptions(path, classes)
        # The file itself, by the names that its numbers stand for.
        content = json.loads(path.read_text())
        order = [plain_name(name) for name in orders[data + (half or '')]]
        assert found == [content[str(order.index(plain_name(name)))]
                         for name in class_names(classes)], path.name
        swapped = {'hmdb': '4 of 51', 'hmdb_base': '2 of 26',
                   'hmdb_novel': '2 of 25'}.get(data + (half or ''))
        numbered = [line for line in warnings if 'otherwise than' in line]
        assert len(numbered) == bool(swapped)
        assert not swapped or swapped in numbered[0]
        short = [line for line in warnings if 'sentences for' in line]
        assert bool(short) == (path.name == '8_s_description_k400.json')
        assert len(warnings) == len(numbered + short)
        del warnings[:]


def test_classes_of_hmdb51_are_matched_by_name(published, warnings):
    path = published / '2_s_description_hmdb.json'
    content = json.loads(path.read_text())
    found = class_descriptions(path, ['kick', 'kick_ball', 'Sword'])
    assert found == [content['21'], content['20'], content['45']]
    assert len(warnings) == 1
    assert re.search(r'describes 48 classes that are not among the 3 asked '
                     r'for \(brush hair, cartwheel, catch and 45 more\): they '
                     'are left out', warnings[0])
    del warnings[:]
    class_descriptions(path, 'hmdb51')
    assert ('numbers 4 of 51 classes otherwise than they are asked for (kick, '
            'kick_ball, sword and 1 more): sentences are taken by name'
            ) in warnings[0]


@pytest.mark.parametrize('half', ['', '_base', '_novel'])
def test_the_published_swap_of_hmdb51_can_be_asked_for(half, published,
                                                       warnings):
    """Label 20 of the videos, a kick, gets what is said of kick ball."""
    path = published / f'2_t_description_hmdb{half}.json'
    found = class_descriptions(path, f'hmdb51_msta{half}')
    assert found == list(json.loads(path.read_text()).values())
    assert not warnings


def test_a_full_file_serves_base_classes_as_their_own_file_does(
        published, warnings):
    for data, classes in VIDEOS.items():
        for half in ('base', 'novel'):
            full, own = (class_descriptions(
                published / f'2_t_description_{data}{end}.json',
                f'{classes}_{half}') for end in ('', f'_{half}'))
            assert full == own


def test_a_base_file_does_not_serve_all_classes(published):
    with pytest.raises(ValueError, match=(
            r'2_s_description_hmdb_base\.json has no sentences for 25 of 51 '
            r'classes \(brush_hair, cartwheel, catch and 22 more\): give a '
            'file that describes them all, or ask for classes')):
        class_descriptions(published / '2_s_description_hmdb_base.json',
                           'hmdb51')


def test_a_class_with_one_sentence_for_eight_is_a_warning(published,
                                                          warnings):
    path = published / 'odd' / '8_s_description_k400.json'
    found = class_descriptions(path, 'k400')
    assert {len(texts) for texts in found} == {1, 8}
    assert len(found[174]) == 1
    assert warnings == [
        f'{path} has not 8 sentences for 1 of 400 classes (kicking field '
        'goal: 1): the mean is over those that a class has.']
    assert any('\u00b0' in text for texts in found for text in texts)


# -- files of one's own -----------------------------------------------------


def test_names_as_keys_need_no_list_and_no_order(tmp_path, warnings):
    path = written(tmp_path, {'Run': ['r.'], 'brush hair': ['b.'],
                              'CartWheel': ['c.']})
    assert class_descriptions(path, NAMES) == [['b.'], ['c.'], ['r.']]
    assert not warnings


def test_numbers_are_those_of_the_list_of_the_file(tmp_path, warnings):
    path = written(tmp_path, by_number(3))
    found = class_descriptions(path, NAMES[:2],
                               file_classes=['run', *NAMES[:2]])
    assert found == [['one of 1.', 'two of 1.'], ['one of 2.', 'two of 2.']]
    lists = tmp_path / 'names.txt'
    lists.write_text('run\ncartwheel\nbrush hair\n')
    assert class_descriptions(path, NAMES, file_classes=str(lists))[0] == [
        'one of 2.', 'two of 2.']


def test_a_list_given_wins_over_the_name_of_the_file(tmp_path, warnings):
    path = written(tmp_path, by_number(51), '2_s_description_hmdb.json')
    assert class_descriptions(path, ['kick']) == [['one of 21.', 'two of 21.']]
    assert class_descriptions(path, ['kick'], file_classes='hmdb51') == [
        ['one of 20.', 'two of 20.']]


def test_entries_are_taken_in_order_of_their_numbers(tmp_path):
    path = written(tmp_path, dict(reversed(by_number(3).items())))
    assert class_descriptions(path, NAMES, file_classes=NAMES) == list(
        by_number(3).values())


def test_a_usual_number_of_sentences_shows_what_is_short(tmp_path, warnings):
    path = written(tmp_path, {'brush hair': ['a.', 'b.'], 'run': ['a.', 'b.'],
                              'cart wheel': ['a.', 'b.', 'c.']})
    assert [len(texts) for texts in class_descriptions(path, NAMES)] == [
        2, 3, 2]
    assert 'has not 2 sentences for 1 of 3 classes (cart wheel: 3)' in (
        warnings[0])


def test_the_name_of_a_published_file_says_how_many_sentences(tmp_path,
                                                              warnings):
    path = written(tmp_path, by_number(51), '4_s_description_hmdb.json')
    class_descriptions(path, 'hmdb51_msta')
    assert 'has not 4 sentences for 51 of 51 classes' in warnings[0]


def test_utf8_with_a_mark_is_read(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({'run': ['caf\u00e9']}, ensure_ascii=False),
                    encoding='utf-8-sig')
    assert class_descriptions(path, ['run']) == [['caf\u00e9']]


# -- bad files --------------------------------------------------------------


@pytest.mark.parametrize('content, message', [
    ('{"run": [', r'is not a JSON file of descriptions \(.*\): mend it'),
    ('', r'is not a JSON file of descriptions \(.*\): mend it'),
    ('[' * 100_000, r'is not a JSON file of descriptions \(.*\): mend it'),
    ('{"run": ["a."], "run": ["b."]}',
     r"of descriptions \(it has 'run' more than once\)"),
    ([['a.']], r'holds \[\["a\."\]\] in place of an object with sentences by '
     r'class: write \{"name of a class": \["A sentence\.", \.\.\.\]'),
    ({}, r'holds \{\} in place of an object'),
    ('3', 'holds 3 in place of an object'),
    ({'run': [['a.']]}, r'has \["a\."\] among the sentences of the class '
     "'run': write each sentence as text between quotes"),
    ({'run': ['a.', 3]}, "has 3 among the sentences of the class 'run'"),
    ({'run': ['a.', None]}, 'has null among the sentences'),
    ({'run': ['a.', ' ']}, 'has " " among the sentences'),
    ({'run': []}, "has no sentence for the class 'run': write at least one"),
    ({'run': 'A runner.'}, 'has "A runner." for the class \'run\': write a '
     'list of sentences'),
    ({'run': {'0': 'a.'}}, r'has \{"0": "a\."\} for the class'),
    ({'run': 'a' * 99}, r'has "a{36}\.\.\. for the class'),
    ({'run': ['a.'], 'Run': ['b.']}, "a.json: classes 0 and 1 are both named "
     "'Run'"),
    ({'': ['a.']}, "a.json: the list of classes has '' for class 0"),
    ({'jog': ['a.']}, r'has no sentences for 1 of 1 classes \(run\), and '
     r'describes 1 more \(jog\): give a file that describes'),
    ({'0': ['a.']}, 'has numbers in place of names of classes, and nothing '
     'says which list they refer to: give its file_classes')])
def test_a_bad_file_is_one_sentence(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        class_descriptions(path, ['run'])
    assert '\n' not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('keys, message', [
    (['0', '1'], 'has 2 classes and the list of its file_classes has 3: give '
     'as file_classes the list that the numbers of the file refer to'),
    (['1', '2', '3'], 'has 3 classes and none of number 0: number them from '
     '0 to 2 in the order of the list'),
    (['0', '01', '2'], 'and none of number 1')])
def test_numbers_that_are_not_those_of_the_list(tmp_path, keys, message):
    path = written(tmp_path, {key: ['a.'] for key in keys})
    with pytest.raises(ValueError, match=message):
        class_descriptions(path, NAMES, file_classes=NAMES)


def test_a_novel_file_is_not_read_with_the_names_of_all_classes(published):
    with pytest.raises(ValueError, match="has 50 classes and the list "
                       "'ucf101' has 101"):
        class_descriptions(published / '2_s_description_ucf_101_novel.json',
                           'ucf101_novel', file_classes='ucf101')


def test_a_list_for_a_file_with_names_is_refused(tmp_path):
    path = written(tmp_path, {'run': ['a.']})
    with pytest.raises(ValueError, match='has names of classes and needs no '
                       'file_classes: leave file_classes out'):
        class_descriptions(path, ['run'], file_classes=['run'])


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='the file of descriptions '
                       '.*none.json does not exist: correct the path'):
        class_descriptions(tmp_path / 'none.json', ['run'])
    path = tmp_path / 'a.json'
    path.write_bytes(b'{"run": ["\xff"]}')
    with pytest.raises(ValueError, match='is not a JSON file of'):
        class_descriptions(path, ['run'])
