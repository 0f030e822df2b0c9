"""tools/descriptions.py: asking, merging answers, checking files."""

import json
import re
from pathlib import Path

import pytest

from mmvidadapt.datasets import class_descriptions, class_names
from tests.scripts import Finished, plain_tool

NAMES = ['brush_hair', 'CartWheel', 'run']


def descriptions(*args: object) -> Finished:
    return plain_tool('descriptions.py', *args)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / 'names.txt'
    path.write_text('\n'.join(NAMES) + '\n')
    return path


def answers(folder: Path, *rows: dict, name: str = 'answers.jsonl') -> Path:
    path = folder / name
    path.write_text('\n'.join(map(json.dumps, rows)) + '\n')
    return path


def answer(name: str, text: object, **fields: object) -> dict:
    return {'class': name, 'answer': text, **fields}


def content(path: Path) -> dict[str, list[str]]:
    return json.loads(path.read_text())


# -- prompts ----------------------------------------------------------------


def test_prompts_are_the_two_of_the_paper_for_each_class(classes):
    """Sec. 3.3 of the paper."""
    done = descriptions('prompts', '--classes', classes, '--sentences', 4)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert lines[2:4] == [
        'Please give me 4 sentences describing the visual appearance of the '
        'action Cart Wheel.',
        'Please give me 4 sentences describing the temporally decoupled steps '
        'of the action Cart Wheel.']


def test_prompts_for_machines_hold_the_class_as_the_list_has_it(classes):
    done = descriptions('prompts', '--classes', classes, '--jsonl')
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row['class'], row['kind']) for row in rows] == [
        (name, kind) for name in NAMES for kind in ('spatial', 'temporal')]
    assert rows[0]['prompt'].startswith('Please give me 2 sentences')


def test_no_sentences_cannot_be_asked_for(classes):
    done = descriptions('prompts', '--classes', classes, '--sentences', 0)
    assert done.returncode == 2
    assert '0 is below 1' in done.stderr


# -- merge ------------------------------------------------------------------


def test_prompts_with_answers_become_two_files(classes, tmp_path):
    asked = descriptions('prompts', '--classes', classes, '--jsonl').stdout
    rows = [json.loads(line) for line in asked.splitlines()]
    for row in rows:
        row['answer'] = f'1. {row["class"]} a.\n2. {row["kind"]} b.'
    file = answers(tmp_path, *reversed(rows))
    for kind in ('spatial', 'temporal'):
        out = tmp_path / 'new' / f'{kind}.json'
        done = descriptions('merge', file, '--kind', kind, '--out', out,
                            '--classes', classes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == [
            'removed numbers or bullets: 6 times',
            f'{out}: 3 classes by number, 6 sentences, 2 for a class']
        assert '2 of 6 sentences repeat one of another class' in done.stdout
        assert content(out) == {
            str(place): [f'{name} a.', f'{kind} b.']
            for place, name in enumerate(NAMES)}
        assert class_descriptions(out, ['run'], file_classes=NAMES) == [
            ['run a.', f'{kind} b.']]


def test_a_file_by_name_needs_no_list_to_be_read(classes, tmp_path):
    parts = [answers(tmp_path, answer(name.lower(), [f'A {name}.']),
                     name=f'{name}.jsonl') for name in NAMES[::-1]]
    out = tmp_path / 'out.json'
    done = descriptions('merge', *parts, '--out', out, '--classes', classes,
                        '--by-name')
    assert done.returncode == 0, done.stderr
    assert list(content(out)) == NAMES
    assert class_descriptions(out, ['Run', 'cart wheel']) == [
        ['A run.'], ['A CartWheel.']]


def test_published_files_come_out_as_they_are_to_the_byte(tmp_path,
                                                          shared_data):
    source = (shared_data / 'etl4video_descriptions' /
              '2_t_description_ucf_101_base.json')
    names = class_names('ucf101_base')
    file = answers(tmp_path, *(
        answer(name, texts) for name, texts
        in zip(names, content(source).values())))
    out = tmp_path / source.name
    done = descriptions('merge', file, '--out', out, '--classes',
                        'ucf101_base')
    assert done.stdout.splitlines()[0] == 'removed square brackets: 4 times'
    expected = re.sub(r'\[(?=\w)|(?<=\w)\]', '', source.read_text())
    assert out.read_text() == expected


@pytest.mark.parametrize('text, sentences, changes', [
    ('A one.\nA two.', ['A one.', 'A two.'], {}),
    ('1. A one.\n2) A two.\n(3) A three.\nStep 4: A four.\n- A five.\n'
     '* A six.\n\u2022 A seven.', [f'A {n}.' for n in (
         'one', 'two', 'three', 'four', 'five', 'six', 'seven')],
     {'removed numbers or bullets': 7}),
    ('Sure! Here are 2 sentences:\n\n1. A one.\n\n2. A two.\n\nShall I go '
     'on?', ['A one.', 'A two.'],
     {"left out 'Sure! Here are 2 sentences:'": 1,
      "left out 'Shall I go on?'": 1, 'removed numbers or bullets': 2}),
    ('Here they are:\nA one.\nA two.', ['A one.', 'A two.'],
     {"left out 'Here they are:'": 1}),
    ('1. A one. 2. A two.', ['A one.', 'A two.'],
     {'removed numbers or bullets': 2}),
    ('A one. A two! A three.', ['A one.', 'A two!', 'A three.'],
     {'divided a line into sentences': 1}),
    ("['A one.', \"A person's two.\"]", ['A one.', "A person's two."], {}),
    ('```json\n["A one.", "A two."]\n```', ['A one.', 'A two.'], {}),
    ('["A one", and no list', ['"A one", and no list'],
     {'removed square brackets': 1}),
    ('1. "A one."\n2. \u201cA two.\u201d\n3. \'A three.\'',
     ['A one.', 'A two.', 'A three.'],
     {'removed quotes': 3, 'removed numbers or bullets': 3}),
    ('1. A person\'s "one".', ['A person\'s "one".'],
     {'removed numbers or bullets': 1}),
    ('1. **Start:** a one.\n**2.** A two.\n   It goes on.',
     ['Start: a one.', 'A two. It goes on.'],
     {'removed numbers or bullets': 2, 'removed marks of bold or code': 1}),
    ('[placing  the object]', ['placing the object'],
     {'removed square brackets': 1}),
    ('3D printing at 1.5 m.', ['3D printing at 1.5 m.'], {}),
    ('1.5 m of rope.\n2:30 on a clock.', ['1.5 m of rope.',
                                          '2:30 on a clock.'], {}),
])
def test_sentences_are_found_in_answers(text, sentences, changes, classes,
                                        tmp_path):
    file = answers(tmp_path, answer('run', text))
    out = tmp_path / 'out.json'
    only = tmp_path / 'only.txt'
    only.write_text('run\n')
    done = descriptions('merge', file, '--out', out, '--classes', only)
    assert done.returncode == 0, done.stderr
    assert content(out) == {'0': sentences}
    told = dict(line.removesuffix(' times').rsplit(': ', 1)
                for line in done.stdout.splitlines()
                if line.endswith(' times'))
    assert told == {change: str(times) for change, times in changes.items()}


def test_a_table_will_do(classes, tmp_path):
    path = tmp_path / 'answers.csv'
    path.write_text('class,kind,answer,model\n'
                    'run,spatial,"1. A one.\n2. A two, fast.",x\n'
                    'brush hair,spatial,A.,x\nCartWheel,spatial,B.,x\n')
    out = tmp_path / 'out.json'
    done = descriptions('merge', path, '--out', out, '--classes', classes)
    assert done.returncode == 0, done.stderr
    assert content(out)['2'] == ['A one.', 'A two, fast.']
    assert ('warning: ' + str(out) + ' has not 1 sentences for 1 of 3 classes '
            '(run: 2)') in done.stdout


@pytest.mark.parametrize('rows, message', [
    ([answer('run', 'A.')], r'there is no answer about 2 of 3 classes '
     r'\(brush_hair, CartWheel\): add one for each'),
    ([answer('jog', 'A.')], "line 1 is about 'jog', which is not among the "
     'classes: correct the line or --classes'),
    ([answer('run', 'A.'), answer('Run', 'B.')], "line 2 is a second answer "
     "about 'run', after .*line 1: keep one"),
    ([answer('run', '```\n```')], "line 1 has no sentence about 'run': ask "
     'again'),
    ([answer('run', 3)], 'line 1 is no answer about a class: give class and '
     'answer'),
    ([answer('run', [])], 'line 1 is no answer'),
    ([{'class': 'run', 'prompt': 'p'}], 'line 1 has no sentence'),
    ([answer('run', ['A.', None])], 'line 1 is no answer'),
    ([{'answer': 'A.'}], 'line 1 is no answer'),
    ([['run', 'A.']], 'line 1 is no JSON object: write'),
    ([answer('run', 'A.', kind='visual')], "line 1 has the kind 'visual': "
     'write spatial or temporal'),
    ([answer('run', 'A.', kind='spatial'),
      answer('run', 'A.', kind='temporal')], 'answers.jsonl holds answers of '
     'more than one kind and a file of descriptions is of one: add --kind')])
def test_answers_that_make_no_file_are_one_sentence(rows, message, classes,
                                                    tmp_path):
    out = tmp_path / 'out.json'
    done = descriptions('merge', answers(tmp_path, *rows), '--out', out,
                        '--classes', classes)
    assert re.search(message, done.error)
    assert not out.exists()


def test_a_line_that_is_no_json_is_named(classes, tmp_path):
    path = tmp_path / 'answers.jsonl'
    path.write_text('\nrun: A.\n')
    done = descriptions('merge', path, '--out', tmp_path / 'out.json',
                        '--classes', classes)
    assert re.search(r'answers.jsonl, line 2 is not JSON \(.*: write one '
                     'object on each line', done.error)


def test_nothing_is_overwritten(classes, tmp_path):
    out = tmp_path / 'out.json'
    out.write_text('mine')
    file = answers(tmp_path, *(answer(name, 'A.') for name in NAMES))
    done = descriptions('merge', file, '--out', out, '--classes', classes)
    assert done.error == f'{out} exists already: choose another name'
    assert out.read_text() == 'mine'


def test_answers_that_are_not_there_are_named(classes, tmp_path):
    done = descriptions('merge', tmp_path / 'a.jsonl', '--out',
                        tmp_path / 'out.json', '--classes', classes)
    assert 'a.jsonl do not exist: correct the path' in done.error


# -- check ------------------------------------------------------------------


@pytest.mark.parametrize('file, classes, counts', [
    ('2_t_description_ssv2.json', 'sthv2',
     {'square brackets': 42, 'longer than 32 tokens': 95}),
    ('2_t_description_k400.json', 'k400',
     {'square brackets': 4, 'longer than 32 tokens': 3}),
    ('2_t_description_ucf_101.json', 'ucf101', {'square brackets': 4}),
    ('2_t_description_hmdb.json', 'hmdb51_msta', {}),
    ('2_s_description_k400.json', 'k400', {'repeat one of another': 22}),
    ('2_s_description_ucf_101.json', 'ucf101', {'repeat one of another': 4}),
    ('odd/4_s_description_ssv2.json', 'sthv2',
     {'square brackets': 1, 'words of the prompt': 1,
      'several sentences in one text': 1, 'longer than 32 tokens': 1,
      'repeat one of another': 40})])
def test_counts_of_published_files(file, classes, counts, shared_data):
    """The data's README has them, but for the repeats of the last one."""
    path = shared_data / 'etl4video_descriptions' / file
    done = descriptions('check', path, '--classes', classes)
    assert done.returncode == 0, done.stderr
    summary, *warnings = done.stdout.splitlines()
    assert f'{len(class_names(classes))} classes by number' in summary
    found = {}
    for line in warnings:
        what, = [what for what in counts if what in line]
        found[what] = int(re.match(r'warning: (\d+) of \d+ sent', line)[1])
    assert found == counts


def test_a_file_that_cannot_be_used_is_an_error_after_the_warnings(
        classes, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({'run': [
        '1. A one.', 'Please give me 2 sentences.', 'A two. A three.',
        'A two. A three.', 'A [four].', 'word ' * 40]}))
    done = descriptions('check', path, '--classes', classes)
    assert 'has no sentences for 2 of 3 classes (brush_hair, C' in done.error
    lines = done.stdout.splitlines()
    assert lines[0] == f'{path}: 1 classes by name, 6 sentences, 6 for a class'
    assert [re.sub(', such as.*', '', line) for line in lines[1:]] == [
        'warning: 1 of 6 sentences hold square brackets',
        'warning: 1 of 6 sentences hold words of the prompt or of the '
        'conversation',
        'warning: 1 of 6 sentences start with a number or a bullet',
        'warning: 2 of 6 sentences hold several sentences in one text',
        'warning: 1 of 6 sentences are longer than 32 tokens and will be cut '
        '(the longest has 42)',
        'warning: 1 of 6 sentences repeat one of the same class']
    assert lines[1].endswith("such as that of 'run': A [four].")
    assert lines[5].endswith('word ...')


def test_context_and_list_of_the_numbers_are_options(classes, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({'0': ['A long sentence.'], '1': ['A.']}))
    done = descriptions('check', path, '--classes', classes)
    assert 'nothing says which list they refer to' in done.error
    only = tmp_path / 'only.txt'
    only.write_text('run\nwalk\n')
    done = descriptions('check', path, '--classes', only, '--file-classes',
                        only, '--context', 4)
    assert done.returncode == 0, done.stderr
    assert '1 of 2 sentences are longer than 4 tokens' in done.stdout


@pytest.mark.parametrize('half', ['', '_base', '_novel'])
def test_swapped_classes_are_told(half, shared_data):
    path = (shared_data / 'etl4video_descriptions' /
            f'2_s_description_hmdb{half}.json')
    done = descriptions('check', path, '--classes', f'hmdb51{half}')
    assert done.returncode == 0
    assert re.search('warning: .* otherwise than they are asked for '
                     r'\((kick|sword)', done.stdout)
