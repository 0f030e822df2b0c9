"""What docs/protocols.md tells people to write and to paste works."""

import re
import shlex
from pathlib import Path

import pytest
from mmaction.registry import METRICS
from mmengine.config import Config

from mmvidadapt.datasets.class_lists import class_names
from tests.conftest import ROOT
from tests.scripts import plain_tool, write_list

TEXT = (ROOT / 'docs' / 'protocols.md').read_text()
COMMANDS = re.findall(r'^python tools/(.*)$', TEXT, re.MULTILINE)
SNIPPET = re.search(r'```python\n(from mmvidadapt.*?)```', TEXT,
                    re.DOTALL)[1]


def test_the_config_with_half_classes_changes_the_metric_only(tmp_path):
    text = re.search(r'<!-- file: half_classes.py -->\n```python\n(.*?)```',
                     TEXT, re.DOTALL)[1]
    path = tmp_path / 'half_classes.py'
    path.write_text(text.replace('configs/', f'{ROOT}/configs/'))
    cfg = Config.fromfile(path)
    assert type(METRICS.build(cfg.test_evaluator)).__name__ == \
        'HalfClassMetric'
    base = Config.fromfile(ROOT / 'configs' / 'inti' / 'vitb_k400.py')
    assert cfg.val_evaluator == base.val_evaluator
    assert cfg.test_dataloader == base.test_dataloader


def test_the_averages_are_those_in_the_comments(capsys):
    exec(SNIPPET)
    printed = capsys.readouterr().out.split()
    expected = re.findall(r'\)  # ([\d.]+)$', SNIPPET, re.MULTILINE)
    assert [f'{float(value):.1f}' for value in printed] == expected
    assert len(expected) == 2


@pytest.mark.parametrize('command', COMMANDS)
def test_a_command_for_lists_writes_what_is_said(command: str, tmp_path,
                                                 monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, number in (('ucf101_train.txt', 16), ('ucf101_test.txt', 1)):
        write_list(tmp_path, [f'{label}/{place}.avi {label}'
                              for label in range(101)
                              for place in range(number)], name)
    done = plain_tool(*shlex.split(command))
    assert done.returncode == 0, done.stderr
    written = {path.name for path in Path('data').glob('*/*')}
    if 'few-shot' in command:
        assert written == {f'shots{shots}_seed{seed}.txt'
                           for shots in (2, 4, 8, 16) for seed in (1, 2, 3)}
    else:
        assert written == {
            'base_classes.txt', 'novel_classes.txt', 'base_test.txt',
            'novel_test.txt',
            *(f'base_shots16_seed{seed}.txt' for seed in (1, 2, 3))}
        assert len(class_names('data/base_novel/base_classes.txt')) == 51
        assert len(class_names('data/base_novel/novel_classes.txt')) == 50


def test_all_commands_are_run():
    assert len(COMMANDS) == 2
