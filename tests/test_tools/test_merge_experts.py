"""``tools/merge_experts.py``: averages of experts, checkpoints and CLIP."""

import math
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from torch import Tensor

from mmvidadapt.compat.checkpoints import read_checkpoint
from mmvidadapt.models.necks import merge_state_dict
from mmvidadapt.models.switches import (
    switches_from_tensor,
    switches_to_tensor,
)
from tests.conftest import ROOT
from tests.scripts import Finished, plain_tool
from tests.tiny_clip import frames, randomize, reference

TOOL = ROOT / 'tools' / 'merge_experts.py'
ENCODER = dict(
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, patch_size=16,
              image_size=32, output_dims=24), act='quick_gelu', project=True)
State = dict[str, Tensor]


def model_config(**neck: Any) -> dict:
    return dict(
        type='Recognizer3D',
        backbone=dict(type='CLIPViT', num_frames=2, encoder=ENCODER),
        neck=dict(type='MoTE', embed_dims=24, num_layers=2, num_experts=3,
                  num_heads=2, **neck),
        cls_head=dict(type='LinearHead', num_classes=3, in_channels=24),
        data_preprocessor=dict(type='mmaction.ActionDataPreprocessor'))


def merge(*args: object) -> Finished:
    return plain_tool('merge_experts.py', *args)


def trained(folder: Path, name: str = 'a.pth', **neck: Any
            ) -> tuple[Path, State]:
    """A checkpoint as a training leaves it, with random weights."""
    cfg = Config(dict(model=model_config(**neck)))
    model = randomize(MODELS.build(cfg.model))
    path = folder / name
    torch.save(dict(state_dict=model.state_dict(), optimizer=dict(a=1),
                    meta=dict(cfg=cfg.pretty_text, epoch=7)), path)
    return path, {key: value.clone()
                  for key, value in model.state_dict().items()}


def assert_close(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


@pytest.mark.parametrize('options, weights', [
    ((), None), (('--temperature', -2.4), -2.4),
    (('--weights', 0, 1, 0), [0, 1, 0])])
def test_the_merged_checkpoint_is_a_plain_transformer(
        tmp_path: Path, options: tuple, weights: Any) -> None:
    path, state = trained(tmp_path, merge_weights=weights)
    out = tmp_path / 'new' / 'merged.pth'
    done = merge(path, out, *options)
    assert done.returncode == 0, done.stderr
    content = read_checkpoint(out)
    assert content.keys() == {'state_dict', 'meta'}
    assert content['meta']['epoch'] == 7
    assert_close(content['state_dict'], merge_state_dict(state, weights))
    before, after = (sum(v.numel() for v in s.values()) / 1e6
                     for s in (state, content['state_dict']))
    assert done.stdout.splitlines() == [
        f'wrote {out}: {len(content["state_dict"])} tensors; experts merged, '
        f'{before:.2f} M to {after:.2f} M numbers',
        f'Now run: python tools/test.py CONFIG {out} --cfg-options '
        'model.neck.num_experts=0']
    # The config inside builds the model that the tensors fit.
    cfg = Config.fromstring(content['meta']['cfg'], '.py')
    plain = MODELS.build(cfg.model).eval()
    plain.load_state_dict(content['state_dict'], strict=True)
    model = MODELS.build(model_config(merge_weights=weights)).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        clip = frames(4).unflatten(0, (2, 1, 2)).transpose(2, 3)
        torch.testing.assert_close(
            plain(clip, mode='tensor', stage='head'),
            model(clip, mode='tensor', stage='head'))
    assert [p.name for p in out.parent.iterdir()] == ['merged.pth']


@pytest.mark.parametrize('options, weights', [
    ((), [0.5, 0.5]), (('--soup', 0.3, 0.7), [0.3, 0.7])])
def test_several_checkpoints_are_averaged(
        tmp_path: Path, options: tuple, weights: list) -> None:
    first, a = trained(tmp_path)
    second, b = trained(tmp_path, 'b.pth')
    mean = {key: weights[0] * a[key] + weights[1] * b[key] for key in a}
    out = tmp_path / 'soup.pth'
    done = merge(first, second, out, *options)
    assert done.returncode == 0, done.stderr
    assert (f'2 checkpoints averaged with weights {weights[0]:g} '
            f'{weights[1]:g}; experts merged') in done.stdout
    assert_close(read_checkpoint(out)['state_dict'], merge_state_dict(mean))
    kept = tmp_path / 'kept.pth'
    done = merge(first, second, kept, '--keep-experts', *options)
    assert done.returncode == 0 and 'experts merged' not in done.stdout
    assert 'num_experts=0' not in done.stdout
    content = read_checkpoint(kept)
    assert_close(content['state_dict'], mean)
    assert 'num_experts=3' in content['meta']['cfg']


def test_checkpoints_without_experts_make_a_soup_as_well(
        tmp_path: Path) -> None:
    files = []
    for i in range(3):
        state = {'w': torch.full((2, ), float(i)).bfloat16(),
                 'norm.num_batches_tracked': torch.tensor(i),
                 'backbone.switches': switches_to_tensor(dict(num_frames=8))}
        files.append(tmp_path / f'{i}.pth')
        torch.save(state, files[-1])  # a bare state dict
    out = tmp_path / 'soup.pth'
    done = merge(*files, out)
    assert done.returncode == 0, done.stderr
    found = read_checkpoint(out)['state_dict']
    assert found['w'].tolist() == [1, 1]
    assert found['w'].dtype == torch.bfloat16
    assert found['norm.num_batches_tracked'] == 0
    assert switches_from_tensor(found['backbone.switches']) == {
        'num_frames': 8}


@pytest.fixture
def original(tmp_path: Path) -> tuple[Path, Path, State]:
    """A config, the CLIP that it starts from, and its image tower."""
    state = reference().state_dict()
    weights = tmp_path / 'clip.pt'
    torch.save(state, weights)
    config = tmp_path / 'config.py'
    encoder = {**ENCODER, 'weights': str(weights)}
    config.write_text(f'model = dict(backbone=dict(encoder={encoder!r}))\n')
    tower = {key[len('visual.'):]: value for key, value in state.items()
             if key.startswith('visual.')}
    return config, weights, tower


def test_fine_tuned_and_original_clip_are_mixed(
        tmp_path: Path, original: tuple) -> None:
    config, _, tower = original
    path, state = trained(tmp_path)
    state['cls_head.logit_scale'] = torch.tensor(3.)
    torch.save(dict(state_dict=state), path)
    out = tmp_path / 'out.pth'
    done = merge(path, out, '--clip-ratio', 0.75, '--config', config)
    assert done.returncode == 0, done.stderr
    assert ('image tower 0.75 x fine-tuned + 0.25 x original; experts merged'
            in done.stdout)
    expected = {
        key: (0.75 * value + 0.25 * tower[key[len('backbone.encoder.'):]]
              if key.startswith('backbone.encoder.') else value)
        for key, value in state.items()}
    # OpenAI's models all have a scale of 100.
    expected['cls_head.logit_scale'] = torch.tensor(
        0.75 * 3 + 0.25 * math.log(100))
    assert_close(read_checkpoint(out)['state_dict'],
                 merge_state_dict(expected))


@pytest.mark.parametrize('ratio', [0, 1])
def test_the_ends_of_the_mix_are_original_and_fine_tuned(
        tmp_path: Path, original: tuple, ratio: int) -> None:
    config, _, tower = original
    path, state = trained(tmp_path)
    out = tmp_path / 'out.pth'
    done = merge(path, out, '--clip-ratio', ratio, '--config', config,
                 '--keep-experts')
    assert done.returncode == 0, done.stderr
    found = read_checkpoint(out)['state_dict']
    for key, value in state.items():
        name = key.removeprefix('backbone.encoder.')
        assert torch.equal(found[key], tower[name] if (
            name != key and not ratio) else value), key


# What is refused ------------------------------------------------------------


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    out = tmp_path / 'out.pth'
    out.write_text('precious')
    assert merge(path, out).error == (
        f'{out} exists: choose another name, or delete it first')
    assert out.read_text() == 'precious'


@pytest.mark.parametrize('change, message', [
    (lambda s: {k: v for k, v in s.items() if '.c_fc.2.' not in k},
     'do not hold the same model, 4 only in {a} (neck.resblocks.0.mlp.c_fc.'
     '2.weight, neck.resblocks.0.mlp.c_fc.2.bias, neck.resblocks.1.mlp.c_fc.'
     '2.weight, ...): give checkpoints of one config'),
    (lambda s: {**s, 'new': torch.ones(1)},
     'do not hold the same model, 1 only in {b} (new): give'),
    (lambda s: {**s, 'cls_head.fc_cls.bias': torch.ones(5)},
     'do not hold the same model, 1 of another shape (cls_head.fc_cls.bias '
     '(3,) and (5,)): give'),
    (lambda s: {**s, 'frames': torch.tensor(8)},
     'frames differs between the checkpoints and has no average: give'),
    (lambda s: {**s, 'cls_head.finetune_features': torch.ones(2, 2)},
     'cls_head.finetune_features differs between the checkpoints and has no'),
])
def test_checkpoints_that_do_not_fit_each_other_are_listed(
        tmp_path: Path, change: Any, message: str) -> None:
    first, state = trained(tmp_path)
    second, _ = trained(tmp_path, 'b.pth')
    new = change(state)
    if 'frames' in new:
        torch.save(dict(state, frames=torch.tensor(4)), first)
    if 'cls_head.finetune_features' in new:
        torch.save({**state, 'cls_head.finetune_features':
                    torch.zeros(2, 2)}, first)
    torch.save(new, second)
    out = tmp_path / 'out.pth'
    error = merge(first, second, out).error
    assert message.format(a=first, b=second) in error
    assert not out.exists()


@pytest.mark.parametrize('options, message', [
    (('--weights', 1, 0), '2 weights do not fit 3 experts: give one for'),
    (('--weights', 1, 1, 0), 'the weights 1, 1, 0 sum up to 2: give'),
    (('--temperature', 0), 'the temperature 0 gives experts no weights: giv'),
    (('--soup', 0.5, 0.5), '2 weights do not fit 1 checkpoints: give one for'),
    (('--soup', 2), 'the weights 2 sum up to 2: give weights whose sum is 1'),
    (('--clip-ratio', 0.5), '--clip-ratio and --config belong together: the'),
    (('--config', 'x.py'), '--clip-ratio and --config belong together: the'),
    (('--keep-experts', ), '--keep-experts leaves nothing to average in one'),
    (('--clip-ratio', 0.5, '--config', 'no.py'), "config 'no.py' does not ex"),
    (('--clip-ratio', 1.5, '--config', ROOT / 'tests' / 'none.py'), 'config'),
])
def test_bad_options_are_one_sentence(tmp_path: Path,
                                      options: tuple, message: str) -> None:
    path, _ = trained(tmp_path)
    out = tmp_path / 'out.pth'
    assert merge(path, out, *options).error.startswith(message)
    assert not out.exists()


def test_bad_mixes_with_clip_are_one_sentence(
        tmp_path: Path, original: tuple) -> None:
    config, weights, _ = original
    path, state = trained(tmp_path)
    mix = ('--config', config, '--clip-ratio')
    out = tmp_path / 'out.pth'
    assert merge(path, out, *mix, 1.5).error.startswith(
        '--clip-ratio 1.5 is no share: give a number from 0 to 1')
    short = {key: value for key, value in state.items()
             if key != 'backbone.encoder.proj'}
    torch.save(short, path)
    assert merge(path, out, *mix, 0.5).error.startswith(
        'the image tower of the checkpoint and that of the config do not '
        'hold the same model, 1 only in that of the config (proj): give')
    frozen = MODELS.build({**model_config(), 'backbone': dict(
        type='CLIPViT', num_frames=2, encoder={
            **ENCODER, 'weights': str(weights), 'frozen': True})})
    frozen.init_weights()
    torch.save(frozen.state_dict(), path)
    assert merge(path, out, *mix, 0.5).error.startswith(
        'the image tower of the checkpoint is frozen, what it leaves out is')
    config.write_text(f'model = dict(backbone=dict(encoder={ENCODER!r}))\n')
    assert merge(path, out, *mix, 0.5).error.startswith(
        f'{config} names no weights of backbone.encoder: give')


def test_files_that_cannot_be_merged_are_one_sentence(
        tmp_path: Path) -> None:
    path, out = tmp_path / 'a.pth', tmp_path / 'out.pth'
    assert merge(path, out).error.startswith(f'{path} can not be found')
    torch.save(dict(model_state_dict={}, fusion_model_state_dict={}), path)
    assert merge(path, out).error.startswith(
        f'{path} is a checkpoint as its authors saved it: convert it by')
    torch.save([1], path)
    assert merge(path, out).error.startswith(
        f'{path} has no state dict of tensors: give a')
    torch.save(dict(w=torch.ones(1)), path)
    assert merge(path, out).error.startswith(
        'the state dict has no experts of MoTE: give')
    assert merge(path, path, out, '--weights', 1).error.startswith(
        'the state dict has no experts of MoTE: give')
    assert merge(path, tmp_path / 'out.pt').error.startswith(
        f'{tmp_path / "out.pt"} does not end in .pth: name')
    assert not out.exists()


def test_the_example_of_the_help_is_understood(
        monkeypatch: pytest.MonkeyPatch) -> None:
    text = merge('--help').stdout
    assert '0.99' in text and 'several are averaged' in text
    example = text.split('example:')[1].split()
    monkeypatch.setattr(sys, 'argv', example[1:])
    args = runpy.run_path(str(TOOL))['parse_args']()
    assert args.checkpoints == ['work_dirs/vitb_k400/epoch_30.pth']
    assert args.out == Path('merged.pth')
