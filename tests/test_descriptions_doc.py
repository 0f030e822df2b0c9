"""What docs/descriptions.md tells people to write and to paste works."""

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvidadapt.datasets import class_names
from mmvidadapt.datasets.descriptions import read_descriptions
from tests.conftest import ROOT
from tests.documents import blocks, call, lines, read

PAGE = 'docs/descriptions.md'
TEXT = read(PAGE)
COMMANDS = lines(PAGE)
CONFIG, SNIPPET, _ = (text for _, text in blocks(PAGE))
#: Steps of the walk, in order.
STEPS = re.findall(r'^ *```(shell|python)\n(.*?)```',
                   TEXT[TEXT.index('## Your own file'):],
                   re.DOTALL | re.MULTILINE)


def paste(commands: str) -> None:
    for line in commands.split('\n'):
        if line.strip():
            assert line.strip() in COMMANDS
            command, _, target = line.strip().partition(' > ')
            done = call(command)
            assert 'warning' not in done.stdout
            if target:
                Path(target).write_text(done.stdout)


def test_own_files_are_made_step_by_step(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kinds = dict(spatial='appearance', temporal='steps')

    def ask(prompt: str) -> str:
        kind, = [kind for kind, word in kinds.items() if word in prompt]
        name = re.search(r'the action (.*)\.$', prompt)[1]
        assert '2 sentences' in prompt
        return f'Sure! Here they are:\n\n1. {kind} of {name}.\n2. [{name}].'

    for language, code in STEPS:
        if language == 'shell':
            paste(code)
        else:
            exec(re.sub('^   ', '', code, flags=re.M), dict(ask=ask))
    for kind in kinds:
        content = json.loads(
            Path(f'descriptions/hmdb51_{kind}.json').read_text())
        assert list(content) == class_names('hmdb51')
        assert content['kick_ball'] == [f'{kind} of kick ball.', 'kick ball.']
    exec(SNIPPET)
    assert capsys.readouterr().out == '51\n'
    assert [language for language, _ in STEPS] == [
        'shell', 'python', 'shell', 'shell']
    assert COMMANDS == [
        line.strip() for language, code in STEPS if language == 'shell'
        for line in code.splitlines() if line.strip()]
    # And a config reads them.
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{ROOT}/configs/msta/vitb_fewshot_hmdb51.py'\n{CONFIG}")
    consistency = Config.fromfile('config.py').model.consistency
    for kind in kinds:
        path = consistency.pop(kind)
        assert path in ' '.join(COMMANDS)
        assert read_descriptions(path).names == class_names('hmdb51')


def test_the_table_of_published_files_is_right(tmp_path):
    rows = re.findall(r'^\| (`.*?) \| (`.*) \|$', TEXT, re.M)
    pairs = [pair for files, lists in rows
             for pair in zip(re.findall('`(.*?)`', files),
                             re.findall('`(.*?)`', lists))]
    assert len(pairs) == 12
    for file, name in pairs:
        path = tmp_path / f'2_s_description_{file}.json'
        path.write_text(json.dumps({
            str(place): ['A.', 'B.']
            for place in range(len(class_names(name)))}))
        assert read_descriptions(path).names == class_names(name)


def test_the_example_of_the_format_is_read(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(re.search(r'```json\n(.*?)```', TEXT, re.DOTALL)[1])
    assert read_descriptions(path).names == ['brush hair', 'cartwheel']


@pytest.mark.parametrize('link', re.findall(r'\]\((\w+\.md)', TEXT))
def test_links_lead_somewhere(link):
    assert (ROOT / 'docs' / link).is_file()
