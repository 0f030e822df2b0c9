"""A checkpoint fits whole or fails, whoever loads it."""

import copy
import logging
from pathlib import Path

import pytest
import torch
from mmaction.apis import MMAction2Inferencer, init_recognizer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint, load_state_dict
from torch import nn
from toy_recognizer import ToyBackbone, ToyHead, toy_config, toy_runner

import mmvidadapt  # noqa: F401
from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.strict_loading import refuse_partial_load

_OTHER_MODEL = 'does not fit .*Load the checkpoint that was trained with'


def _model(**changes) -> nn.Module:
    init_default_scope('mmaction')
    return MODELS.build(toy_config(Path('unused'), **changes).model)


def _saved(model: nn.Module, path: Path, **changes) -> str:
    """Save the model's state dict after the changes; None drops a key."""
    state = model.state_dict()
    for key, value in changes.items():
        key = key.replace('__', '.')
        if value is None:
            del state[key]
        else:
            state[key] = value
    torch.save(dict(state_dict=state), path)
    return str(path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a checkpoint of the toy model after two epochs."""
    work_dir = tmp_path_factory.mktemp('trained')
    toy_runner(work_dir).train()
    return str(work_dir / 'epoch_2.pth')


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the current logger warns of."""
    heard: list[str] = []
    monkeypatch.setattr(
        MMLogger, 'warning',
        lambda self, message, *args, **kwargs: heard.append(message))
    return heard


# One row per fault: what is changed in the checkpoint, what the error says.
FAULTS = {
    'missing': (dict(backbone__conv__weight=None),
                r"'backbone' \(ToyBackbone\): 1 missing "
                r'\(backbone\.conv\.weight\)'),
    'unexpected': (dict(backbone__extra=torch.zeros(1)),
                   r"'backbone' \(ToyBackbone\): 1 unexpected "
                   r'\(backbone\.extra\)'),
    'shape': (dict(backbone__conv__bias=torch.zeros(7)),
              r"'backbone' \(ToyBackbone\): 1 mis-shaped "
              r'\(size mismatch for backbone\.conv\.bias'),
    'head': (dict(cls_head__fc_cls__bias=None),
             r"'cls_head' \(ToyHead\): 1 missing"),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_every_fault_is_named_with_the_remedy(tmp_path: Path,
                                              fault: str) -> None:
    changes, message = FAULTS[fault]
    path = _saved(_model(), tmp_path / 'bad.pth', **changes)
    with pytest.raises(RuntimeError, match=message) as error:
        load_checkpoint(_model(), path)
    assert 'Load the checkpoint that was trained with' in str(error.value)
    assert '\n' not in str(error.value)


def test_a_long_list_of_keys_is_counted_and_cut() -> None:
    model = _model()
    state = {key: value for key, value in model.state_dict().items()
             if key.startswith('cls_head')}
    with pytest.raises(RuntimeError, match=r'6 missing \(\S+, \S+, \S+, '
                       r'\.\.\.\)'):
        load_state_dict(model, state)


def test_runner_test_load_from_and_resume_refuse_another_model(
        tmp_path: Path, trained: str) -> None:
    other = {'model.backbone.adapter': True}
    for extra, start in (({}, 'test'), ({}, 'train'),
                         ({'resume': True}, 'train')):
        runner = toy_runner(tmp_path, load_from=trained, **other, **extra)
        with pytest.raises(RuntimeError, match=_OTHER_MODEL):
            getattr(runner, start)()


def test_runner_loads_and_tests_its_own_checkpoint(tmp_path: Path,
                                                   trained: str) -> None:
    metrics = toy_runner(tmp_path, load_from=trained).test()
    assert 'acc/top1' in metrics


def test_init_recognizer_and_inferencer_refuse_another_model(
        tmp_path: Path, trained: str) -> None:
    config = toy_config(tmp_path, **{'model.backbone.width': 5,
                                     'model.cls_head.in_channels': 5})
    with pytest.raises(RuntimeError, match=_OTHER_MODEL):
        init_recognizer(config, trained, device='cpu')
    config.test_pipeline = [dict(type='DecordInit'),
                            dict(type='DecordDecode'),
                            dict(type='PackActionInputs')]
    config.test_dataloader.dataset.pipeline = config.test_pipeline
    config.dump(tmp_path / 'toy.py')
    with pytest.raises(RuntimeError, match=_OTHER_MODEL):
        MMAction2Inferencer(str(tmp_path / 'toy.py'), trained, device='cpu')


def test_init_recognizer_loads_the_right_checkpoint(tmp_path: Path,
                                                    trained: str) -> None:
    model = init_recognizer(toy_config(tmp_path), trained, device='cpu')
    saved = read_checkpoint(trained)['state_dict']
    assert torch.equal(model.backbone.conv.weight,
                       saved['backbone.conv.weight'])


def test_checkpoint_with_a_neck_is_refused_by_a_model_without() -> None:
    with_neck = _model(**{'model.neck': dict(type='ToyNeck')})
    for strict in (True, False):
        with pytest.raises(RuntimeError,
                           match=r'2 unexpected \(neck\.fc\.weight'):
            load_state_dict(_model(), with_neck.state_dict(), strict=strict)


def test_checkpoint_without_any_key_of_the_neck_is_refused() -> None:
    with_neck = _model(**{'model.neck': dict(type='ToyNeck')})
    with pytest.raises(RuntimeError, match=r"'neck' \(ToyNeck\): 2 missing"):
        load_state_dict(with_neck, _model().state_dict())


def test_plain_torch_loading_is_guarded_whatever_strict_says() -> None:
    model, state = _model(), _model().state_dict()
    del state['backbone.conv.bias']
    for strict in (True, False):
        with pytest.raises(RuntimeError, match='1 missing'):
            model.load_state_dict(state, strict=strict)


def test_a_part_loads_its_own_state_dict_strictly() -> None:
    source, target = ToyBackbone(adapter=True), ToyBackbone(adapter=True)
    target.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(target.conv.weight, source.conv.weight)
    target.conv.load_state_dict(source.conv.state_dict(), strict=True)
    assert 'scale' not in source.state_dict()


def test_pretrained_init_takes_one_part_of_a_checkpoint(
        tmp_path: Path) -> None:
    source = _model(**{'model.neck': dict(type='ToyNeck')})
    path = _saved(source, tmp_path / 'full.pth')
    part = ToyBackbone(init_cfg=dict(type='Pretrained', checkpoint=path,
                                     prefix='backbone.'))
    part.init_weights()
    assert torch.equal(part.conv.weight, source.backbone.conv.weight)
    wrong = ToyBackbone(adapter=True,
                        init_cfg=dict(type='Pretrained', checkpoint=path,
                                      prefix='backbone.'))
    with pytest.raises(RuntimeError, match='ToyBackbone: 2 missing'):
        wrong.init_weights()


def test_batch_counters_of_old_checkpoints_may_be_missing() -> None:
    source, target = ToyBackbone(), ToyBackbone()
    state = source.state_dict()
    del state['norm.num_batches_tracked']
    assert state._metadata['norm']['version'] == 2  # torch adds none
    load_state_dict(target, state)
    assert torch.equal(target.conv.weight, source.conv.weight)


class _Renaming(nn.Module):
    """A child whose own load hook knows an older key."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_load_state_dict_pre_hook(self._rename)

    @staticmethod
    def _rename(module: nn.Module, state: dict, prefix: str,
                *args: object) -> None:
        if prefix + 'old' in state:
            state[prefix + 'weight'] = state.pop(prefix + 'old')[:2]


def test_load_hooks_of_children_are_heard_first() -> None:
    model = nn.Sequential(_Renaming())
    refuse_partial_load(model)
    model.load_state_dict({'0.old': torch.zeros(3)})
    assert torch.equal(model[0].weight, torch.zeros(2))


def test_wrapped_models_load_and_refuse() -> None:
    wrapped = nn.Sequential()
    wrapped.add_module('module', ToyBackbone())
    state = wrapped.state_dict()
    assert 'module.conv.weight' in state
    wrapped.load_state_dict(state)
    state.pop('module.conv.weight')
    with pytest.raises(RuntimeError, match=r"'module' \(ToyBackbone\)"):
        wrapped.load_state_dict(state)


def test_a_deep_copy_has_its_own_guard() -> None:
    model = ToyHead(reinit_on_mismatch=True)
    twin = copy.deepcopy(model)
    twin.load_state_dict(ToyHead(num_classes=5).state_dict())
    features = torch.zeros(1, 2, 4)
    model.eval()(features)
    with pytest.raises(RuntimeError, match='has not been trained since'):
        twin.eval()(features)


@pytest.mark.parametrize('resume', [True, False])
def test_ema_saves_loads_and_resumes(tmp_path: Path, resume: bool) -> None:
    ema = dict(custom_hooks=[dict(type='EMAHook', momentum=0.5)])
    first = toy_runner(tmp_path, **ema, **{'train_cfg.max_epochs': 1})
    first.train()
    path = tmp_path / 'epoch_1.pth'
    saved = read_checkpoint(path)
    assert any(key.startswith('module.backbone')
               for key in saved['ema_state_dict'])
    second = toy_runner(tmp_path, load_from=str(path), resume=resume, **ema)
    second.train()
    assert second.epoch == 2
    toy_runner(tmp_path, load_from=str(tmp_path / 'epoch_2.pth'), **ema).test()
    for key in ('module.backbone.conv.bias', 'backbone.conv.bias'):
        saved['ema_state_dict'].pop(key, None)
        saved['state_dict'].pop(key, None)
    torch.save(saved, path)
    third = toy_runner(tmp_path, load_from=str(path), resume=resume, **ema)
    with pytest.raises(RuntimeError, match='1 missing'):
        third.train()


def test_head_with_opt_out_keeps_its_init_for_other_classes(
        tmp_path: Path, trained: str, warnings: list[str],
        caplog: pytest.LogCaptureFixture) -> None:
    model = _model(**{'model.cls_head.num_classes': 5,
                      'model.cls_head.reinit_on_mismatch': True})
    before = model.cls_head.fc_cls.weight.clone()
    with caplog.at_level(logging.WARNING):
        load_checkpoint(model, trained)
    saved = read_checkpoint(trained)['state_dict']
    assert torch.equal(model.backbone.conv.weight,
                       saved['backbone.conv.weight'])
    assert torch.equal(model.cls_head.fc_cls.weight, before)
    assert len(warnings) == 1
    assert '2 mis-shaped (cls_head.fc_cls.weight' in warnings[0]
    assert 'do not match exactly' not in caplog.text


def test_head_without_opt_out_refuses_other_classes(trained: str) -> None:
    model = _model(**{'model.cls_head.num_classes': 5})
    with pytest.raises(RuntimeError, match=r'2 mis-shaped \(size mismatch '
                       r'for cls_head\.fc_cls\.weight'):
        load_checkpoint(model, trained)


def test_opt_out_does_not_excuse_missing_keys(tmp_path: Path) -> None:
    path = _saved(_model(), tmp_path / 'bad.pth',
                  cls_head__fc_cls__bias=None)
    model = _model(**{'model.cls_head.reinit_on_mismatch': True})
    with pytest.raises(RuntimeError, match='1 missing'):
        load_checkpoint(model, path)


def test_fine_tuning_runs_and_an_untrained_head_refuses_to_test(
        tmp_path: Path, trained: str) -> None:
    changes = {'model.cls_head.num_classes': 5,
               'model.cls_head.reinit_on_mismatch': True,
               'load_from': trained}
    with pytest.raises(RuntimeError, match='has not been trained since'):
        toy_runner(tmp_path, **changes).test()
    toy_runner(tmp_path, **changes).train()


def test_matching_classes_load_whole_despite_the_opt_out(
        trained: str, warnings: list[str]) -> None:
    model = _model(**{'model.cls_head.reinit_on_mismatch': True})
    load_checkpoint(model, trained)
    saved = read_checkpoint(trained)['state_dict']
    assert torch.equal(model.cls_head.fc_cls.weight,
                       saved['cls_head.fc_cls.weight'])
    assert warnings == []
    model.cls_head.eval()(torch.zeros(1, 2, 4))


@pytest.mark.parametrize('kind, change', [
    ('missing', dict(weight=None)),
    ('unexpected', dict(other=torch.zeros(1))),
    ('shape', dict(weight=torch.zeros(3, 3))),
])
def test_each_allowed_kind_warns_and_excuses_only_itself(
        tmp_path: Path, warnings: list[str], kind: str,
        change: dict) -> None:
    def linear(*allow: str) -> nn.Module:
        module = nn.Linear(2, 2)
        refuse_partial_load(module, allow=allow)
        return module

    path = _saved(linear(), tmp_path / 'part.pth', **change)
    state = torch.load(path, weights_only=True)['state_dict']
    linear(kind).load_state_dict(state)
    assert len(warnings) == 1 and warnings[0].startswith('Linear ')
    others = {'missing', 'unexpected', 'shape'} - {kind}
    with pytest.raises(RuntimeError, match='does not fit Linear'):
        linear(*others).load_state_dict(state)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"allow=\['shapes'\] is unknown, "
                       'choose from'):
        refuse_partial_load(nn.Linear(1, 1), allow=('shapes', ))


def test_config_of_the_toy_is_a_real_config(tmp_path: Path) -> None:
    toy_config(tmp_path).dump(tmp_path / 'toy.py')
    config = Config.fromfile(tmp_path / 'toy.py')
    assert config.model.type == 'Recognizer3D'
