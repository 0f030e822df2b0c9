"""Training, testing and resuming through the scripts that users call."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.scripts import Finished, tool
from tests.tiny import write_tiny_config


def train(config: str, work_dir: Path, *args: str,
          options: Sequence[str] = ()) -> Finished:
    extra = ['--cfg-options', *options] if options else []
    return tool('train.py', config, '--work-dir', str(work_dir),
                '--synthetic', '4', *args, *extra)


@pytest.mark.parametrize('name', [
    'inti/vitb_k400.py',  # mixup, accumulation, colour jitter
    'inti/vitb_ssv2_temp.py',  # RandAugment, two copies, drop path
])
def test_a_config_trains_and_tests_on_synthetic_clips(
        name: str, tmp_path: Path) -> None:
    config = write_tiny_config(name, tmp_path)
    done = train(config, tmp_path / 'work')
    assert done.returncode == 0, done.stderr[-3000:]
    losses = [float(x) for x in re.findall(r' loss: (\S+)', done.stderr
                                           + done.stdout)]
    assert losses and all(0 < loss < 20 for loss in losses)
    checkpoint = tmp_path / 'work' / 'epoch_1.pth'
    scores = tmp_path / 'scores.pkl'
    done = tool('test.py', config, str(checkpoint), '--work-dir',
                str(tmp_path / 'work'), '--synthetic', '2', '--dump',
                str(scores))
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r'acc/top1: [01]\.\d+', done.stderr + done.stdout)
    assert scores.stat().st_size > 0


def test_amp_is_bfloat16_and_resume_goes_on(tmp_path: Path) -> None:
    config = write_tiny_config('inti/vitb_k400.py', tmp_path)
    work = tmp_path / 'work'
    done = train(config, work, '--amp')
    assert done.returncode == 0, done.stderr[-3000:]
    done = train(config, work, '--resume',
                 options=('train_cfg.max_epochs=2', ))
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 1' in done.stderr + done.stdout
    assert (work / 'epoch_2.pth').is_file()


CONFIG = 'configs/inti/vitb_k400.py'


@pytest.mark.parametrize('name, args, message', [
    ('train.py', ['no_such.py'], r"config 'no_such.py' does not exist: give"),
    ('train.py', ['configs/_base_/default_runtime.py'],
     r'default_runtime.py has no model: give a config that can be run'),
    ('train.py', [CONFIG, '--synthetic', '0'],
     r'a synthetic data set of 0 videos .* ask for at least one'),
    ('train.py', [CONFIG, '--auto-scale-lr', '--cfg-options',
                  'auto_scale_lr.base_batch_size=None'],
     r'--auto-scale-lr needs auto_scale_lr.base_batch_size in the config'),
    ('test.py', [CONFIG, 'x.pth', '--dump', 'a.txt'],
     r"--dump 'a.txt' is not a pickle file: choose a name that ends in .pkl"),
])
def test_bad_options_are_one_sentence(name: str, args: list,
                                      message: str) -> None:
    assert re.search(message, tool(name, *args).error)


@pytest.mark.parametrize('option, message', [
    ('model.backbone.adapters.0.layers=[12]',
     r'InTI at layers=\[12\]: 12 is outside the blocks 0 to 11'),
    ('model.backbone.adapters.0.type=Inti',
     r"unknown adapter 'Inti': use one of .*InTI"),
    ('model.backbone.adapters.0.fusoin=add',
     r"InTI has no option 'fusoin': use .*fusion"),
    ('model.backbone.num_frames=15', r'15.*even'),
])
def test_bad_settings_are_one_sentence(option: str, message: str,
                                       tmp_path: Path) -> None:
    config = write_tiny_config('inti/vitb_k400.py', tmp_path)
    done = train(config, tmp_path / 'work', options=[option])
    assert re.search(message, done.error)


def test_a_dict_in_place_of_a_name_is_one_sentence(tmp_path: Path) -> None:
    tiny = write_tiny_config('inti/vitb_k400.py', tmp_path)
    key = 'model.backbone.encoder.act'
    fault = ('gives act as a dict, and the config that it changes gives it as '
             'a str: write ')
    option = f'{key}.name=gelu'
    assert tool('get_flops.py', tiny, '--cfg-options', option).error == (
        f'--cfg-options {fault}act._delete_=True beside it to replace it')
    changed = tmp_path / 'changed.py'
    body = "model = dict(backbone=dict(encoder=dict(act=dict({}name='gelu'))))"
    changed.write_text(f"_base_ = '{tiny}'\n" + body.format(''))
    assert tool('get_flops.py', str(changed)).error == (
        f'{changed} {fault}act=dict(_delete_=True, ...) to replace it')
    # The remedies lead to the model, which says what an activation may be.
    changed.write_text(f"_base_ = '{tiny}'\n"
                       + body.format('_delete_=True, '))
    for args in ([str(changed)],
                 [tiny, '--cfg-options', f'{key}._delete_=True', option]):
        assert "'name': 'gelu'" in tool('get_flops.py', *args).error


@pytest.mark.parametrize('place', ['layers', '7.layers', '7'])
def test_a_part_that_a_list_lacks_is_one_sentence(
        place: str, tmp_path: Path) -> None:
    tiny = write_tiny_config('inti/vitb_k400.py', tmp_path)
    option = f'model.backbone.adapters.{place}=[0]'
    assert tool('get_flops.py', tiny, '--cfg-options', option).error == (
        '--cfg-options names a part that a list does not have: give its '
        'place from 0, as in model.backbone.adapters.0.layers=[5]')


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    config = write_tiny_config('inti/vitb_k400.py', tmp_path)
    done = tool('test.py', config, 'no_such.pth', '--work-dir',
                str(tmp_path / 'work'), '--synthetic', '2')
    assert re.search(r'no_such\.pth', done.error)


@pytest.mark.parametrize('name', [
    'train.py', 'test.py', 'get_flops.py', 'benchmark.py'])
def test_help_ends_with_a_command_to_paste(name: str) -> None:
    done = tool(name, '--help')
    assert done.returncode == 0
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith(f'  python tools/{name} ')


def test_an_error_ends_the_process_with_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'train.py'), 'no_such.py'],
        capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: config 'no_such")
