"""What docs/protocols.md tells people to write and to paste works."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmaction.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvidadapt.datasets.class_lists import class_names
from tests.conftest import ROOT
from tests.documents import blocks, call, files, lines, tiny_config
from tests.scripts import write_list

PAGE = 'docs/protocols.md'
FILES = files(PAGE)
COMMANDS = lines(PAGE)
LISTS = [line for line in COMMANDS if 'make_subsets' in line]
PROTOCOLS = [line for line in COMMANDS if 'test_protocol' in line]
RUNS = [line for line in COMMANDS if re.match('[A-Z]+=', line)]
SNIPPET, = [text for note, text in blocks(PAGE) if not note]


def shown_config(name: str, folder: Path) -> Config:
    """A config that the document shows, as if in the root."""
    (folder / name).write_text(
        FILES[name].replace('configs/', f'{ROOT}/configs/'))
    return Config.fromfile(folder / name)


def test_the_config_with_half_classes_changes_the_metric_only(tmp_path):
    cfg = shown_config('half_classes.py', tmp_path)
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


@pytest.mark.parametrize('command', LISTS)
def test_a_command_for_lists_writes_what_is_said(command: str, tmp_path,
                                                 monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, number in (('ucf101_train.txt', 16), ('ucf101_test.txt', 1)):
        write_list(tmp_path, [f'{label}/{place}.avi {label}'
                              for label in range(101)
                              for place in range(number)], name)
    call(command)
    out = Path(shlex.split(command)[4])
    written = {path.name for path in out.iterdir()}
    if 'few-shot' in command:
        assert written == {f'shots{shots}_seed{seed}.txt'
                           for shots in (2, 4, 8, 16) for seed in (1, 2, 3)}
    else:
        assert written == {
            'base_classes.txt', 'novel_classes.txt', 'base_test.txt',
            'novel_test.txt',
            *(f'base_shots16_seed{seed}.txt' for seed in (1, 2, 3))}
        assert len(class_names(str(out / 'base_classes.txt'))) == 51
        assert len(class_names(str(out / 'novel_classes.txt'))) == 50
        # Where the configs look for them.
        train = Config.fromfile(
            ROOT / 'configs/_base_/datasets/ucf101_base_novel.py'
        ).base_novel.train
        assert Path(train.ann_file) == out / 'base_shots16_seed1.txt'
        assert Path(train.ann_file).is_file()


def tiny_configs(command: str) -> None:
    """Write the configs of a command, tiny, to where it looks for them."""
    for name in re.findall(r'configs/\S+\.py', command):
        tiny_config(name)


@pytest.mark.parametrize('command', PROTOCOLS)
def test_a_protocol_is_tested(command: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_configs(command)
    config, *_ = re.findall(r'configs/\S+\.py', command)
    for place, name in enumerate(re.findall(r'CKPT\d?', command)):
        torch.manual_seed(place)
        with DefaultScope.overwrite_default_scope('mmaction'):
            model = MODELS.build(Config.fromfile(config).model)
        torch.save(dict(state_dict=model.state_dict()), name)
    novel = 'base-novel' in command
    done = call(command, *(() if novel else ('--splits', '2')),
                '--synthetic', '1')
    file, = Path('work_dirs').glob('*/*.json')
    assert f'wrote {file}' in done.stdout
    saved = json.loads(file.read_text())
    if novel:
        assert file.name == 'base-novel.json'
        assert len(saved['data_sets']['vitb_base-novel_ucf101'][
            'seeds']) == 3
    else:
        assert file.name == 'zero-shot.json'
        assert len(saved['data_sets']) == 3
        assert saved.keys() >= {'hm_zs', 'trade_off', 'closed_set'}


def test_a_base_to_novel_config_trains_and_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, test = RUNS
    tiny_configs(train)
    call(train, '--synthetic', '2')
    checkpoint = shlex.split(test)[-1]
    # Here after one epoch, not ten.
    Path(checkpoint).with_name('epoch_1.pth').rename(checkpoint)
    assert 'acc/top1' in str(call(test, '--synthetic', '2'))


def test_the_config_with_halves_changes_classes_and_lists_only(tmp_path):
    cfg = shown_config('base_novel.py', tmp_path)
    base = Config.fromfile(ROOT / 'configs/mote/vitb_k400_1x1.py')
    assert cfg.model.cls_head.classes == 'ucf101_base'
    for split, file in (('train', 'base_shots16_seed1'), ('val', 'base_test'),
                        ('test', 'base_test')):
        ours, theirs = (one[f'{split}_dataloader'].dataset
                        for one in (cfg, base))
        assert ours.ann_file == f'data/ucf101/base_novel/{file}.txt'
        assert ours.data_prefix.video == 'data/ucf101/videos'
        assert ours.pipeline == theirs.pipeline


def test_the_config_of_few_shots_repeats_the_drawn_list(tmp_path):
    train = shown_config('few_shot.py', tmp_path).train_dataloader.dataset
    base = Config.fromfile(ROOT / 'configs/inti/vitb_k400.py')
    assert (train.type, train.times) == ('RepeatDataset', 5)
    assert train.dataset.pop('ann_file') == (
        'data/few_shot/shots16_seed1.txt')
    base.train_dataloader.dataset.pop('ann_file')
    assert train.dataset == base.train_dataloader.dataset


def test_all_commands_are_run():
    assert [*map(len, (LISTS, PROTOCOLS, RUNS))] == [2, 2, 2]
    assert len(COMMANDS) == 6
