"""Checkpoints are read without running code and written whole."""

import builtins
import os
import pickle
import subprocess
import sys
from collections import deque
from fractions import Fraction
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmaction.apis import init_recognizer
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.hooks import checkpoint_hook as hook_module
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint, save_checkpoint
from toy_recognizer import toy_config, toy_runner

from mmvidadapt import compat
from mmvidadapt.compat import checkpoints, saving
from mmvidadapt.compat.checkpoints import CheckpointError, read_checkpoint

FOREIGN = 'is refused because it asks for'


class _Payload:
    """Pickles to a call of any function."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work directory of two epochs of training."""
    work_dir = tmp_path_factory.mktemp('trained')
    toy_runner(work_dir).train()
    return work_dir


def test_a_run_resumes_from_its_own_checkpoint(tmp_path: Path,
                                               trained: Path) -> None:
    runner = toy_runner(tmp_path, load_from=str(trained / 'epoch_1.pth'),
                        resume=True)
    runner.train()
    whole = read_checkpoint(trained / 'epoch_2.pth')
    resumed = read_checkpoint(tmp_path / 'epoch_2.pth')
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][key]), key
    loss = resumed['message_hub']['log_scalars']['train/loss']
    assert len(loss.data[0]) == 4  # two before, two after


def test_a_run_resumes_by_itself(tmp_path: Path) -> None:
    toy_runner(tmp_path, **{'train_cfg.max_epochs': 1}).train()
    runner = toy_runner(tmp_path, resume=True)
    runner.train()
    assert runner.epoch == 2
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_2.pth')


def test_checkpoint_is_tested_and_used(tmp_path: Path,
                                       trained: Path) -> None:
    path = str(trained / 'epoch_2.pth')
    assert 'acc/top1' in toy_runner(tmp_path, load_from=path).test()
    init_recognizer(toy_config(tmp_path), path, device='cpu')


def test_history_buffer_keeps_its_numbers_and_methods(
        tmp_path: Path) -> None:
    buffer = HistoryBuffer([1., 3.], [1, 1])
    torch.save(dict(buffer=buffer, best=np.float64(0.5), top=np.int32(7)),
               tmp_path / 'hub.pth')
    hub = read_checkpoint(tmp_path / 'hub.pth')
    assert hub['buffer'].statistics('mean') == 2
    assert hub['buffer'].statistics('current') == 3
    assert hub['best'] == 0.5 and hub['top'] == 7


def test_map_location_is_heard(tmp_path: Path) -> None:
    torch.save(dict(weight=torch.ones(2)), tmp_path / 'a.pth')
    path = str(tmp_path / 'a.pth')
    assert read_checkpoint(path, 'meta')['weight'].is_meta
    model = torch.nn.ParameterDict(dict(weight=torch.zeros(2)))
    loaded = load_checkpoint(model, path, map_location='meta')
    assert loaded['weight'].is_meta


@pytest.mark.parametrize('saved, name', [
    (Fraction(1, 2), 'fractions.Fraction'),
    (_Payload(os.system, 'false'), 'posix.system'),
    (_Payload(eval, '1'), 'eval'),
    (_Payload(getattr, HistoryBuffer, '__init__'), 'builtins.getattr'),
    (_Payload(getattr, torch.Tensor, 'mean'), 'builtins.getattr'),
    (_Payload(getattr, 'text', 'join'), 'builtins.getattr'),
    (np.array([None], dtype=object), 'numpy.dtypes.ObjectDType'),
])
def test_foreign_globals_are_refused_by_name(tmp_path: Path, saved: object,
                                             name: str) -> None:
    path = tmp_path / 'foreign.pth'
    for legacy in (False, True):
        torch.save(dict(state_dict=dict(x=saved)), path,
                   _use_new_zipfile_serialization=not legacy)
        for read in (read_checkpoint,
                     lambda file: load_checkpoint(torch.nn.Linear(1, 1),
                                                  str(file))):
            with pytest.raises(CheckpointError) as error:
                read(path)
            message = str(error.value)
            assert message.startswith(f'{path} {FOREIGN}')
            assert name in message and 'saved anew by its author' in message
            assert 'weights_only' not in message
            assert '\n' not in message


def test_every_foreign_name_is_listed(tmp_path: Path) -> None:
    path = tmp_path / 'foreign.pth'
    torch.save([Fraction(1), deque([1])], path)
    with pytest.raises(CheckpointError,
                       match='collections.deque, fractions.Fraction'):
        read_checkpoint(path)


def test_allow_list_lasts_only_while_reading(tmp_path: Path) -> None:
    torch.serialization.add_safe_globals([HistoryBuffer])
    before = set(torch.serialization.get_safe_globals())
    torch.save(HistoryBuffer([1.], [1]), tmp_path / 'a.pth')
    try:
        read_checkpoint(tmp_path / 'a.pth')
        assert set(torch.serialization.get_safe_globals()) == before
    finally:
        torch.serialization.clear_safe_globals()
    assert getattr is not checkpoints._statistic_of_history_buffer
    assert builtins.getattr is getattr


def _html(path: Path) -> None:
    path.write_text('\n<!DOCTYPE html>\n<html><body>404</body></html>')


def _lfs_pointer(path: Path) -> None:
    path.write_text('version https://git-lfs.github.com/spec/v1\noid ...')


def _truncated(path: Path, **how: bool) -> None:
    torch.save(dict(x=torch.zeros(1000)), path, **how)
    path.write_bytes(path.read_bytes()[:1500])


def _truncated_legacy(path: Path) -> None:
    _truncated(path, _use_new_zipfile_serialization=False)


def _torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), path)


@pytest.mark.filterwarnings('ignore:.*TorchScript')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('write, message', [
    (_html, 'is a web page, not a checkpoint: download the file itself'),
    (_lfs_pointer, 'is a Git LFS pointer, not a checkpoint: fetch'),
    (_truncated, r'is truncated or damaged \(1500 bytes\): download or copy'),
    (_truncated_legacy, 'is truncated or damaged .*: download or copy'),
    (Path.touch, 'is empty: download or copy it again'),
    (_torchscript, 'is a TorchScript archive, .*weights= of the encoder'),
    (lambda path: path.write_text('hello'),
     r'is not a checkpoint written by torch\.save \(KeyError\): give'),
    (lambda path: path.write_bytes(pickle.dumps({}, 4)),
     r'is not a checkpoint written by torch\.save \(.+\): give'),
])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, write: object,
                                        message: str) -> None:
    path = tmp_path / 'bad file.pth'
    write(path)
    for read in (read_checkpoint, lambda file: load_checkpoint(
            torch.nn.Linear(1, 1), str(file))):
        with pytest.raises(CheckpointError, match=message) as error:
            read(path)
        assert str(path) in str(error.value)
        assert '\n' not in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='none.pth can not be found'):
        load_checkpoint(torch.nn.Linear(1, 1), str(tmp_path / 'none.pth'))


def test_addresses_are_read_weights_only(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    cache = tmp_path / 'checkpoints'
    cache.mkdir()
    torch.save(dict(x=HistoryBuffer([1.], [1])), cache / 'good.pth')
    torch.save(Fraction(1), cache / 'bad.pth')
    load = mmengine_checkpoint.CheckpointLoader.load_checkpoint
    assert load('https://localhost/good.pth')['x'].current() == 1
    with pytest.raises(CheckpointError, match=r'localhost/bad\.pth is refused'
                       r' because it asks for fractions\.Fraction'):
        load('https://localhost/bad.pth')


def test_reading_mend_is_needed_only_where_the_fault_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert not checkpoints.needed()  # mended on import

    def as_released(filename: str, map_location: object = None) -> object:
        return torch.load(filename, map_location=map_location)

    # The fault that is looked for; never called.
    def careless(filename: str, map_location: object = None) -> object:
        return torch.load(filename, map_location, weights_only=False)

    for loader in (as_released, careless):
        monkeypatch.setattr(mmengine_checkpoint, 'load_from_local', loader)
        assert checkpoints.needed()


def test_fork_that_falls_back_to_any_pickle_is_mended(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'foreign.pth'
    torch.save(Fraction(1), path)
    loader = mmengine_checkpoint.CheckpointLoader
    # Put back what the second mend replaces.
    monkeypatch.setattr(loader, '_schemes', dict(loader._schemes))
    monkeypatch.setattr(loader, 'load_checkpoint', loader.load_checkpoint)
    for name in ('load_url', 'load_from_local'):
        monkeypatch.setattr(mmengine_checkpoint, name,
                            getattr(mmengine_checkpoint, name))
    # A stand-in for the fork's fault, which the mend has to replace.
    monkeypatch.setattr(
        mmengine_checkpoint, '_safe_torch_load',
        lambda file, **kwargs: torch.load(file, weights_only=False),
        raising=False)
    checkpoints.mend()
    with pytest.raises(UnpicklingError, match='Fraction'):
        mmengine_checkpoint._safe_torch_load(path, map_location='cpu')


# --- saving --------------------------------------------------------------


class _Killed(BaseException):
    """Stands for a kill in the middle of a write."""


def test_broken_write_keeps_the_old_checkpoint(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'a.pth'
    save_checkpoint(dict(epoch=1), str(path))

    def put_half(self: object, data: bytes, filename: str) -> None:
        Path(filename).write_bytes(data[:len(data) // 2])
        raise _Killed

    monkeypatch.setattr(LocalBackend, 'put', put_half)
    with pytest.raises(_Killed):
        save_checkpoint(dict(epoch=2), str(path))
    assert read_checkpoint(path) == dict(epoch=1)
    assert os.listdir(tmp_path) == ['a.pth']


_KILLED_RUN = '''
import os, sys
import mmvidadapt
from mmengine.fileio import LocalBackend
from toy_recognizer import toy_config, toy_runner

def put_half_and_die(self, data, filename):
    with open(filename, 'wb') as file:
        file.write(data[:len(data) // 2])
    os._exit(9)

put = LocalBackend.put
writes = []

def count(self, data, filename):
    writes.append(filename)
    if len(writes) == 2:
        put_half_and_die(self, data, filename)
    put(self, data, filename)

LocalBackend.put = count
runner = toy_runner(sys.argv[1], **{
    'default_hooks.checkpoint.max_keep_ckpts': 1})
runner.train()
'''


def test_killed_run_resumes_from_the_previous_checkpoint(
        tmp_path: Path) -> None:
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(
        [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]))
    run = subprocess.run([sys.executable, '-c', _KILLED_RUN, str(tmp_path)],
                         env=env, capture_output=True, text=True)
    assert run.returncode == 9, run.stderr
    assert (tmp_path / 'epoch_1.pth').exists()
    assert not (tmp_path / 'epoch_2.pth').exists()
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    runner = toy_runner(tmp_path, resume=True, **{
        'default_hooks.checkpoint.max_keep_ckpts': 1})
    runner.train()
    assert runner.epoch == 2
    assert sorted(file.name for file in tmp_path.glob('*.pth*')) == [
        'epoch_2.pth']


def test_only_the_newest_and_the_best_remain(tmp_path: Path) -> None:
    toy_runner(tmp_path, **{
        'train_cfg.max_epochs': 3,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
        'default_hooks.checkpoint.save_best': 'auto'}).train()
    names = sorted(file.name for file in tmp_path.glob('*.pth*'))
    assert names[0].startswith('best_acc_top1_epoch_') and len(names) == 2
    assert names[1] == 'epoch_3.pth'


def test_best_checkpoint_of_the_same_name_survives(tmp_path: Path) -> None:
    changes = {'train_cfg.max_epochs': 1,
               'default_hooks.checkpoint.save_best': 'acc/top1'}
    toy_runner(tmp_path, **changes).train()
    runner = toy_runner(tmp_path, **changes)
    hook = next(hook for hook in runner.hooks
                if isinstance(hook, CheckpointHook))
    hook.before_train(runner)
    hook.best_ckpt_path = str(tmp_path / 'best_acc_top1_epoch_1.pth')
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner._train_loop._epoch = 1
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook._save_best_checkpoint(runner, {'acc/top1': 2.})
    assert Path(hook.best_ckpt_path).exists()


def test_last_checkpoint_file_is_moved_whole(tmp_path: Path) -> None:
    path = tmp_path / 'last_checkpoint'
    path.write_text('old')
    with pytest.raises(_Killed):
        with hook_module.open(str(path), 'w') as file:
            file.write('ne')
            file.flush()
            raise _Killed
    assert path.read_text() == 'old'
    with hook_module.open(str(path), 'w') as file:
        file.write('new')
    assert path.read_text() == 'new'


def test_validation_without_training_does_not_need_a_backend() -> None:
    hook = CheckpointHook()
    hook._save_best_checkpoint(SimpleNamespace(), {})


def test_saving_mends_are_needed_only_where_the_fault_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert not saving.needed() and not saving.hook_needed()
    monkeypatch.setattr(mmengine_checkpoint, 'save_checkpoint',
                        save_checkpoint.__wrapped__)
    monkeypatch.setattr(
        CheckpointHook, '_save_checkpoint_with_step',
        CheckpointHook._save_checkpoint_with_step.__wrapped__)
    assert saving.needed() and saving.hook_needed()
    assert {'mmengine cannot read its checkpoints',
            'mmengine writes checkpoints in place',
            'mmengine deletes checkpoints too early'} <= {
                mend.name for mend in compat.MENDS}
