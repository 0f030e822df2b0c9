"""MoTE: one drawn expert in training, all of them merged in evaluation."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmvidadapt.models.clip.block import MLP, Attention
from mmvidadapt.models.clip.layout import TokenLayout
from mmvidadapt.models.necks import MoTE, experts
from mmvidadapt.models.necks.experts import (
    layer_weights,
    merge_state_dict,
    softmax_weights,
)
from mmvidadapt.models.necks.mote import Draw
from tests.test_models.test_necks.mote_golden import (
    cosines,
    golden_neck,
    load_golden,
    our_name,
)

D = 8


def small(**options: Any) -> MoTE:
    return MoTE(**{**dict(embed_dims=D, num_layers=2, num_experts=3,
                          num_heads=2), **options})


def perturbed(**options: Any) -> MoTE:
    """Weights large enough that every path differs visibly."""
    neck = small(**options)
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return neck


def clips(batch: int = 2, frames: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, frames, D, generator=generator)


def forced(neck: MoTE, experts_: list, temperatures: list | None = None
           ) -> MoTE:
    """Let every draw be this one."""
    number = len(neck.resblocks)
    neck.draw = lambda: Draw(experts_, temperatures or [math.inf] * number)
    return neck.train()


@torch.no_grad()
def evaluate(neck: MoTE, x: Tensor) -> Tensor:
    return neck.eval()(x)[0][1]


def alone(neck: MoTE, x: Tensor, expert: int) -> Tensor:
    """The features of one expert of each layer."""
    weights = [float(e == expert) for e in range(neck.num_experts)]
    single = small(design=neck.design, merge_weights=weights)
    single.load_state_dict(neck.state_dict())
    return evaluate(single, x)


# Parity ---------------------------------------------------------------------


def test_evaluation_matches_the_released_program(goldens: Path) -> None:
    data = load_golden(goldens)
    neck = golden_neck(data)
    with torch.no_grad():
        (frames, temporal), losses = neck(data['vid_emb'])
    assert frames is data['vid_emb'] and losses == {}
    whole = frames + temporal
    torch.testing.assert_close(
        whole, data['eval']['agg_no_tfm'], atol=2e-5, rtol=0)
    torch.testing.assert_close(
        cosines(whole, data['cls_emb']), data['eval']['logits_no_tfm'],
        atol=1e-5, rtol=0)


def test_stored_weights_of_a_merge_match_the_released_program(
        goldens: Path) -> None:
    data = load_golden(goldens)
    stored = data['eval_fusion_weight']['fusion_weight']
    weights = [stored[f'transformer.resblocks.{i}.mlp.mote_fusion_weight']
               .softmax(0).tolist() for i in range(2)]
    neck = golden_neck(data, merge_weights=weights)
    with torch.no_grad():
        frames, temporal = neck(data['vid_emb'])[0]
    torch.testing.assert_close(
        cosines(frames + temporal, data['cls_emb']),
        data['eval_fusion_weight']['logits_no_tfm'], atol=1e-5, rtol=0)


@pytest.mark.parametrize('run', range(3))
def test_training_matches_the_released_program(goldens: Path,
                                               run: int) -> None:
    data = load_golden(goldens)
    expected = data['train'][run]
    chosen = expected['expert_per_layer'].tolist()
    neck = forced(golden_neck(data), [(e, e) for e in chosen],
                  expected['tau_per_layer'].tolist())
    frames = data['vid_emb'].requires_grad_()
    (x, temporal, merged), losses = neck(frames)
    logits, logits_merged = (cosines(x + part, data['cls_emb'])
                             for part in (temporal, merged))
    torch.testing.assert_close(logits, expected['logits'], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits_merged, expected['logits_reg'],
                               atol=1e-5, rtol=0)
    assert losses.keys() == {'loss_mse'}
    torch.testing.assert_close(
        losses['loss_mse'].item(), 0.1 * expected['mse_loss'], rtol=1e-4,
        atol=0)
    scale = expected['logit_scale']
    loss = (F.cross_entropy(scale * logits, data['labels'])
            + 0.5 * F.cross_entropy(scale * logits_merged, data['labels'])
            + losses['loss_mse'])
    torch.testing.assert_close(loss.item(), expected['loss'], rtol=1e-4,
                               atol=0)
    loss.backward()
    torch.testing.assert_close(frames.grad, expected['grad_vid_emb'],
                               rtol=1e-3, atol=1e-6)
    norms = {our_name(name): norm
             for name, norm in expected['grad_norms'].items()}
    found = dict(neck.named_parameters())
    assert found.keys() == norms.keys()
    for name, norm in norms.items():
        grad = float(found[name].grad.norm())
        if norm < 1e-6:
            assert grad < 1e-5, name
        else:
            assert grad == pytest.approx(norm, rel=1e-3), name
    # What is without gradient there is no parameter here at all.
    assert {name.rpartition('.')[2] for name in expected['no_grad_params']
            } == {'spe_cls_feature', 'mote_fusion_weight'}


# The parts, in plain words --------------------------------------------------


def plain(neck: MoTE, x: Tensor, ffns: list[list[MLP]]) -> Tensor:
    """Sec. 3.2, layer by layer: attention, then the mean of some FFNs."""
    layout = TokenLayout('text', 1, (x.shape[1], 1))
    x = x + neck.positional_embedding[:x.shape[1]]
    for block, mlps in zip(neck.resblocks, ffns):
        x = x + block.attn(block.ln_1(x), layout, block)
        y = block.ln_2(x)
        x = x + sum(mlp(y) for mlp in mlps) / len(mlps)
    return x


def as_mlp(up: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor]) -> MLP:
    mlp = MLP(D, 4 * D, 'quick_gelu')
    with torch.no_grad():
        for own, given in zip(mlp.parameters(), (*up, *down)):
            own.copy_(given)
    return mlp


def expert(layer: nn.Module, index: int) -> tuple[Tensor, Tensor]:
    linear = layer[index] if isinstance(layer, nn.ModuleList) else layer
    return linear.weight, linear.bias


def combined(layer: nn.Module, weights: list[float]
             ) -> tuple[Tensor, Tensor]:
    if isinstance(layer, nn.Linear):
        return layer.weight, layer.bias
    return tuple(torch.einsum(
        'e,e...->...', torch.tensor(weights).float(),
        torch.stack([getattr(linear, kind) for linear in layer]))
        for kind in ('weight', 'bias'))


@pytest.mark.parametrize('design', ['ffn', 'both', 'up', 'down'])
def test_each_design_runs_the_drawn_experts_and_merges_them(
        design: str) -> None:
    neck = forced(perturbed(design=design), [(2, 1), (0, 2)] if
                  design == 'both' else [(2, 2), (0, 0)], [-1.2, 2.4])
    x = clips()
    with torch.no_grad():
        (_, temporal, merged), _ = neck(x)
        drawn = [[as_mlp(expert(block.mlp.c_fc, up),
                         expert(block.mlp.c_proj, down))]
                 for block, (up, down) in zip(neck.resblocks,
                                              neck.draw().experts)]
        torch.testing.assert_close(temporal, plain(neck, x, drawn))
        at = [[as_mlp(combined(block.mlp.c_fc, weights),
                      combined(block.mlp.c_proj, weights))]
              for block, weights in zip(neck.resblocks, (
                  softmax_weights(3, -1.2), softmax_weights(3, 2.4)))]
        torch.testing.assert_close(merged, plain(neck, x, at))
        mean = [[as_mlp(combined(block.mlp.c_fc, [1 / 3] * 3),
                        combined(block.mlp.c_proj, [1 / 3] * 3))]
                for block in neck.resblocks]
        torch.testing.assert_close(evaluate(neck, x), plain(neck, x, mean))


def test_what_is_an_expert_and_what_is_shared() -> None:
    kinds = {design: tuple(isinstance(layer, nn.ModuleList) for layer in (
        small(design=design).resblocks[0].mlp.c_fc,
        small(design=design).resblocks[0].mlp.c_proj))
        for design in ('ffn', 'both', 'up', 'down')}
    assert kinds == dict(ffn=(True, True), both=(True, True),
                         up=(True, False), down=(False, True))


def test_all_experts_can_work_on_each_batch() -> None:
    neck = perturbed(routing='all', merged_branch=None).train()
    x = clips()
    with torch.no_grad():
        temporal = neck(x)[0][1]
        every = [[as_mlp(expert(block.mlp.c_fc, e),
                         expert(block.mlp.c_proj, e)) for e in range(3)]
                 for block in neck.resblocks]
        torch.testing.assert_close(temporal, plain(neck, x, every))
    neck(x)[0][1].sum().backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_attention_is_that_of_torch() -> None:
    neck = perturbed(num_layers=1)
    ours = neck.resblocks[0].attn
    assert isinstance(ours, Attention)
    torchs = nn.MultiheadAttention(D, 2, batch_first=True)
    torchs.load_state_dict(ours.state_dict())
    x = clips()
    torch.testing.assert_close(
        neck.resblocks[0].attend(x),
        x + torchs(*[neck.resblocks[0].ln_1(x)] * 3)[0])


def test_norms_add_next_to_nothing_inside_the_root() -> None:
    assert {module.eps for module in small().modules()
            if isinstance(module, nn.LayerNorm)} == {1e-12}


def test_initialisation_is_the_released_one() -> None:
    torch.manual_seed(1)
    neck = MoTE(embed_dims=64, num_layers=2, num_experts=3, num_heads=2)
    for name, parameter in neck.state_dict().items():
        if 'ln_' in name:
            assert (parameter == (1 if 'weight' in name else 0)).all(), name
        elif name.endswith('bias'):
            assert not parameter.any(), name
        else:
            # Xavier's uniform distribution for three projections in one.
            wanted = (2 / (4 * 64))**0.5 if 'in_proj' in name else 0.02
            assert float(parameter.std()) == pytest.approx(
                wanted, rel=0.05), name
            assert abs(float(parameter.mean())) < 0.1 * wanted, name


@pytest.mark.parametrize('same', [False, True])
def test_experts_start_alike_only_if_told_so(same: bool) -> None:
    first = small(same_init=same).resblocks[0].mlp
    for layer in (first.c_fc, first.c_proj):
        for other in layer[1:]:
            assert torch.equal(layer[0].weight, other.weight) == same
    if same:  # and are parameters of their own
        assert first.c_fc[0].weight is not first.c_fc[1].weight


@pytest.mark.parametrize('dims, layers, experts_, millions', [
    # The trained head, "Param." of Table 2c and the same for B/16
    (512, 4, 4, 37.8), (768, 6, 4, 127.6),
    # merged, 42.6 M in Table 2c
    (768, 6, 0, 42.6), (512, 4, 0, 12.6)])
def test_number_of_parameters(dims: int, layers: int, experts_: int,
                              millions: float) -> None:
    with torch.device('meta'):
        neck = MoTE(dims, layers, experts_)
    count = sum(p.numel() for p in neck.parameters() if p.requires_grad)
    assert count / 1e6 == pytest.approx(millions, abs=0.05)
    assert neck.resblocks[0].attn.num_heads == dims // 64


@pytest.mark.parametrize('arch, dims, layers, millions', [
    ('ViT-B-16', 512, 4, 98.8), ('ViT-L-14', 768, 6, 346.6)])
def test_parameters_of_image_tower_and_merged_neck(
        arch: str, dims: int, layers: int, millions: float) -> None:
    # Table 4; the text tower, the class features and the scale of the
    # logits are not counted.
    with torch.device('meta'):
        backbone = MODELS.build(dict(
            type='CLIPViT', num_frames=8,
            encoder=dict(arch=arch, act='quick_gelu', project=True)))
        neck = MODELS.build(dict(type='MoTE', embed_dims=dims,
                                 num_layers=layers, num_experts=0))
    count = sum(p.numel() for module in (backbone, neck)
                for p in module.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


# Drawing --------------------------------------------------------------------


def draws(neck: MoTE, number: int) -> tuple[list, list]:
    found = [neck.draw() for _ in range(number)]
    return ([pair for draw in found for pair in draw.experts],
            [tau for draw in found for tau in draw.temperatures])


@pytest.mark.parametrize('routing, chances', [
    ('multinomial', [0.0321, 0.0871, 0.2369, 0.6439]),  # Eq. 5
    ('random', [0.25] * 4), ('fixed', [1, 0, 0, 0])])
def test_experts_are_drawn_with_their_chances(routing: str,
                                              chances: list) -> None:
    pairs, _ = draws(small(num_experts=4, routing=routing), 2000)
    assert all(up == down for up, down in pairs)
    share = torch.bincount(torch.tensor(pairs)[:, 0], minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor(chances).float(),
                               atol=0.03, rtol=0)


def test_layers_draw_independently() -> None:
    neck = small(routing='random')
    rows = torch.tensor([[up for up, _ in neck.draw().experts]
                         for _ in range(600)])
    together = torch.zeros(3, 3)
    for a, b in rows.tolist():
        together[a, b] += 1 / 600
    torch.testing.assert_close(together, torch.full((3, 3), 1 / 9),
                               atol=0.05, rtol=0)


def test_both_projections_draw_on_their_own() -> None:
    pairs, _ = draws(small(design='both', routing='random'), 50)
    assert {up == down for up, down in pairs} == {True, False}


def test_temperatures_come_from_the_published_set(goldens: Path) -> None:
    _, found = draws(small(), 1000)
    data = load_golden(goldens)
    assert sorted(set(found)) == pytest.approx(
        sorted(data['tau_set'].tolist()))
    for value in set(found):
        assert found.count(value) / len(found) == pytest.approx(
            1 / 11, abs=0.03)


@pytest.mark.parametrize('name', ['point', 'normal', 'uniform'])
def test_other_ways_to_draw_temperatures(name: str) -> None:
    _, found = draws(small(temperature=name, beta=0.5), 1000)
    values = torch.tensor(found)
    if name == 'point':
        assert values.isinf().all()
        return
    assert len(set(found)) == len(found)
    assert float(values.mean()) == pytest.approx(0, abs=0.3)
    wanted = 1 if name == 'normal' else 16 / 3**0.5 / 2
    assert float(values.std()) == pytest.approx(wanted, rel=0.1)
    if name == 'uniform':
        assert 7.5 < float(values.abs().max()) <= 8


@pytest.mark.parametrize('name', ['normal', 'uniform'])
def test_a_drawn_temperature_of_zero_gives_equal_weights(
        name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, 'randn', torch.zeros)
    monkeypatch.setattr(torch, 'rand', lambda *a, **k: torch.full(
        *a, 0.5, **k))
    assert small(temperature=name).draw().temperatures == [math.inf] * 2


def test_weights_of_a_temperature() -> None:
    assert softmax_weights(4, 1.) == pytest.approx(
        [0.0321, 0.0871, 0.2369, 0.6439], abs=1e-4)
    assert softmax_weights(4, -1.) == pytest.approx(
        softmax_weights(4, 1.)[::-1])
    assert softmax_weights(3, math.inf) == softmax_weights(3, -math.inf) == (
        pytest.approx([1 / 3] * 3))
    assert softmax_weights(3, 1e-4) == [0, 0, 1]  # nothing overflows


def test_a_step_repeats_with_the_seed_of_the_process() -> None:
    neck = perturbed().train()
    seen = []
    for _ in range(2):
        torch.manual_seed(11)
        seen.append((neck.draw(), neck(clips())[0][1]))
    assert seen[0][0] == seen[1][0]
    assert torch.equal(seen[0][1], seen[1][1])


def test_evaluation_draws_nothing() -> None:
    neck = perturbed().eval()
    before = torch.get_rng_state()
    with torch.no_grad():
        first, second = neck(clips())[0][1], neck(clips())[0][1]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)


@torch.no_grad()
def test_the_size_of_a_batch_changes_nothing() -> None:
    neck = perturbed().eval()
    x = clips(4)
    together = neck(x)[0][1]
    for i in range(4):
        torch.testing.assert_close(neck(x[i:i + 1])[0][1][0], together[i])


# Losses ---------------------------------------------------------------------


def two_branches(**options: Any) -> tuple[tuple, dict, MoTE]:
    neck = forced(perturbed(**options), [(1, 1), (2, 2)], [0.6, -2.4])
    return *neck(clips()), neck


def test_eq_9_as_published_and_as_printed() -> None:
    (_, _, merged), losses, _ = two_branches()
    total = sum(float(value)**2 for value in merged.detach().flatten())
    assert losses['loss_mse'].item() == pytest.approx(
        0.1 * total / merged.numel(), rel=1e-5)
    (frames, _, merged), losses, _ = two_branches(mse='pooled',
                                                  mse_weight=0.2)
    z, e = (frames + merged.detach()).mean(1), frames.mean(1)
    assert losses['loss_mse'].item() == pytest.approx(
        0.2 * float(((z - e)**2).sum(-1).mean()), rel=1e-4)


def test_the_losses_between_features_can_be_left_out() -> None:
    features, losses, _ = two_branches(mse_weight=0)
    assert len(features) == 3 and losses == {}


def test_features_of_the_merged_branch_can_follow_those_of_the_drawn(
        ) -> None:
    (_, temporal, merged), _, head = two_branches()
    neck = forced(small(merged_branch='mse', merged_weight=0.7,
                        mse_weight=0), *head.draw())
    neck.load_state_dict(head.state_dict())
    features, losses = neck(clips())
    assert len(features) == 2 and losses.keys() == {'loss_merged'}
    torch.testing.assert_close(features[1], temporal)
    difference = (merged - temporal).detach()
    torch.testing.assert_close(
        losses['loss_merged'].detach(), 0.7 * difference.square().mean())
    # The drawn experts are the teacher, the merged ones alone learn.
    losses['loss_merged'].backward()
    expected = torch.autograd.grad(
        (merged * 1.4 * difference / difference.numel()).sum(),
        head.parameters())
    for (name, parameter), grad in zip(neck.named_parameters(), expected):
        torch.testing.assert_close(parameter.grad, grad, msg=name)


def test_both_branches_equal_two_separate_passes() -> None:
    (frames, temporal, merged), losses, neck = two_branches()
    (temporal.sum() + merged.square().sum()).backward()
    single = copy.deepcopy(neck)
    single.zero_grad()
    tokens = frames + single.positional_embedding[:4]
    drawn = [[[block.mlp.pick(e, e)]]
             for block, e in zip(single.resblocks, (1, 2))]
    weighted = [[[block.mlp.merge(softmax_weights(3, tau))]]
                for block, tau in zip(single.resblocks, (0.6, -2.4))]
    one, = single._run(tokens, [[path for path, in drawn]])
    two, = single._run(tokens, [[path for path, in weighted]])
    torch.testing.assert_close(one, temporal)
    torch.testing.assert_close(two, merged)
    (one.sum() + two.square().sum()).backward()
    for (name, a), b in zip(neck.named_parameters(), single.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name, atol=1e-4,
                                   rtol=1e-4)


def test_the_first_attention_runs_once_for_both_branches(
        monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    old = Attention.forward

    def forward(self: Attention, x: Tensor, *args: Any) -> Tensor:
        seen.append(len(x))
        return old(self, x, *args)

    monkeypatch.setattr(Attention, 'forward', forward)
    small(num_layers=3).train()(clips(batch=5))
    assert seen == [5, 10, 10]


def test_every_parameter_gets_a_gradient() -> None:
    (frames, temporal, merged), losses, neck = two_branches()
    (temporal.square().sum() + merged.square().sum()).backward()
    for name, parameter in neck.named_parameters():
        rows = 4 if name == 'positional_embedding' else None
        assert parameter.grad[:rows].abs().sum() > 0, name


def test_without_the_merged_branch_only_drawn_experts_get_a_gradient(
        ) -> None:
    neck = forced(perturbed(merged_branch=None), [(1, 1), (2, 2)])
    features, losses = neck(clips())
    assert len(features) == 2 and losses == {}
    features[1].square().sum().backward()
    without = [name for name, p in neck.named_parameters() if p.grad is None]
    assert without == [f'resblocks.{i}.mlp.{layer}.{e}.{kind}'
                       for i, drawn in enumerate((1, 2))
                       for layer in ('c_fc', 'c_proj')
                       for e in range(3) if e != drawn
                       for kind in ('weight', 'bias')]


@pytest.mark.parametrize('training', [True, False])
def test_the_residual_stream_stays_in_float32_under_autocast(
        training: bool) -> None:
    neck = perturbed().train(training)
    with torch.autocast('cpu', torch.bfloat16):
        features, losses = neck(clips().bfloat16())
    assert features[0].dtype == torch.bfloat16  # its input, unchanged
    assert {x.dtype for x in features[1:]} == {torch.float32}
    assert all(loss.dtype == torch.float32 for loss in losses.values())


# Merging --------------------------------------------------------------------


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list:
    """Grows by one with each layer that is merged."""
    seen: list = []
    old = experts.ExpertMLP.merge

    def merge(self: experts.ExpertMLP, weights: list) -> Any:
        seen.append(weights)
        return old(self, weights)

    monkeypatch.setattr(experts.ExpertMLP, 'merge', merge)
    return seen


def test_evaluation_merges_once(merges: list) -> None:
    neck = perturbed().eval()
    with torch.no_grad():
        for _ in range(3):
            neck(clips())
    assert merges == [pytest.approx([1 / 3] * 3)] * 2  # two layers


@pytest.mark.parametrize('change', [
    lambda neck: neck.train().eval(),
    lambda neck: neck.eval(),
    lambda neck: neck.load_state_dict(perturbed().state_dict()),
    lambda neck: neck.load_state_dict(perturbed().state_dict(), assign=True),
    lambda neck: torch.optim.SGD(neck.parameters(), 0.1).step(),
    lambda neck: neck.double().float(),
    lambda neck: neck.resblocks[1].mlp.c_fc[0].bias.data.zero_() is
    neck.eval(),
], ids=['trains', 'is set to eval', 'loads', 'assigns', 'steps', 'converts',
        'data'])
def test_evaluation_merges_anew_after_a_change(merges: list,
                                               change: Any) -> None:
    neck = perturbed().eval()
    neck(clips())[0][1].sum().backward()  # for the optimizer
    del merges[:]
    with torch.no_grad():
        neck(clips())
        assert len(merges) == 2
        change(neck)
        after = neck(clips())[0][1]
        assert len(merges) == 4
        torch.testing.assert_close(after, copy.deepcopy(neck)(clips())[0][1])


def test_evaluation_with_gradient_reaches_all_experts(merges: list) -> None:
    neck = perturbed().eval()
    evaluate(neck, clips())
    neck(clips())[0][1].square().sum().backward()
    assert all(p.grad is not None for p in neck.parameters())


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_what_was_merged_serves_a_pass_with_gradient(context: Any) -> None:
    neck = perturbed().eval()
    with context():
        neck.merge()
        neck(clips())
    x = clips().requires_grad_()
    neck(x)[0][1].square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert neck.resblocks[0].mlp.c_fc[0].weight.grad is None


@torch.no_grad()
def test_merge_keeps_outputs_and_unmerge_the_weights(merges: list) -> None:
    neck = perturbed()
    before = {name: value.clone() for name, value in
              neck.state_dict().items()}
    expected = evaluate(copy.deepcopy(neck), clips())
    del merges[:]
    neck.merge()
    assert neck.merged and len(merges) == 2
    for _ in range(2):
        assert torch.equal(evaluate(neck, clips()), expected)
    assert len(merges) == 2
    neck.unmerge()
    assert not neck.merged
    after = neck.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@torch.no_grad()
@pytest.mark.parametrize('weights, row', [
    (None, [1 / 3] * 3), (1.5, softmax_weights(3, 1.5)),
    ([0, 1, 0], [0, 1, 0]), ([[0.5, 0.5, 0], [0, 0, 1]], None)])
def test_merge_takes_a_temperature_or_weights(weights: Any,
                                              row: Any) -> None:
    neck = perturbed()
    rows = [row, row] if row else weights
    ffns = [[as_mlp(combined(block.mlp.c_fc, w),
                    combined(block.mlp.c_proj, w))]
            for block, w in zip(neck.resblocks, rows)]
    expected = plain(neck, clips(), ffns)
    neck.merge(weights)
    torch.testing.assert_close(evaluate(neck, clips()), expected)
    neck.unmerge()
    chosen = small(merge_weights=weights)
    chosen.load_state_dict(neck.state_dict())
    torch.testing.assert_close(evaluate(chosen, clips()), expected)


@pytest.mark.parametrize('design', list(experts.DESIGNS))
def test_an_ensemble_runs_each_expert_through_all_layers(design: str) -> None:
    neck, x = perturbed(design=design, aggregation='ensemble'), clips()
    found = evaluate(neck, x)
    assert found.shape == (len(x), 3, *x.shape[1:])
    for expert in range(3):
        torch.testing.assert_close(found[:, expert], alone(neck, x, expert))


@pytest.mark.parametrize('design', list(experts.DESIGNS))
def test_random_routing_draws_an_expert_for_each_clip_and_layer(
        design: str) -> None:
    neck = perturbed(num_layers=1, design=design, aggregation='random')
    x = clips(1).expand(60, -1, -1)
    found = evaluate(neck, x)
    different = torch.unique(found, dim=0)
    # The two projections of 'both' are drawn apart.
    assert len(different) == (9 if design == 'both' else 3)
    counts = torch.stack([(found == one).all(-1).all(-1).sum()
                          for one in different])
    assert counts.sum() == 60 and counts.min() >= 60 / len(counts) / 4


def test_random_routing_repeats_itself_and_leaves_the_process_alone() -> None:
    neck, x = perturbed(aggregation='random'), clips(6)
    state = torch.get_rng_state()
    first = evaluate(neck, x)
    with torch.no_grad():
        later = neck(x)[0][1]
    assert not torch.equal(later, first)
    torch.testing.assert_close(evaluate(neck, x), first)
    neck.eval()
    with torch.no_grad():  # in other batches
        parts = [neck(part)[0][1] for part in x.split(4)]
    torch.testing.assert_close(torch.cat(parts), first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(evaluate(copy.deepcopy(neck), x), first)


@pytest.mark.parametrize('aggregation', ['random', 'ensemble'])
def test_what_evaluates_experts_apart_trains_the_same(
        aggregation: str) -> None:
    neck, x = perturbed(), clips()
    other = small(aggregation=aggregation)
    other.load_state_dict(neck.state_dict())
    outputs = []
    for one in (neck, other):
        torch.manual_seed(5)
        outputs.append(one.train()(x)[0])
    for first, second in zip(*outputs, strict=True):
        assert torch.equal(first, second)
    with pytest.raises(ValueError, match=f"^MoTE has aggregation="
                       f"'{aggregation}', which evaluates experts apart"):
        other.merge()


def test_training_ends_a_merge() -> None:
    neck = small()
    neck.merge([1, 0, 0])
    assert neck.eval().merged
    assert not neck.train().merged


@torch.no_grad()
def test_a_merge_with_weights_outlives_new_parameters() -> None:
    neck, other = perturbed().eval(), perturbed()
    neck.merge([0, 0, 1])
    neck.load_state_dict(other.state_dict())
    other.merge([0, 0, 1])
    torch.testing.assert_close(evaluate(neck, clips()),
                               evaluate(other, clips()))


def test_a_copy_of_an_evaluated_neck_is_free_of_it() -> None:
    neck = perturbed().eval()
    evaluate(neck, clips())
    twin = copy.deepcopy(neck)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    assert not torch.allclose(evaluate(neck, clips()),
                              evaluate(twin, clips()))


# Merged checkpoints ---------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize('design', ['ffn', 'both', 'up', 'down'])
@pytest.mark.parametrize('weights', [
    None, -1.2, [0.2, 0.5, 0.3], [[0.2, 0.5, 0.3], [1, 0, 0]]])
def test_merged_weights_are_those_of_the_plain_transformer(
        design: str, weights: Any) -> None:
    neck = perturbed(design=design)
    merged = merge_state_dict(neck.state_dict(), weights)
    baseline = small(num_experts=0)
    assert list(merged) == list(baseline.state_dict())
    baseline.load_state_dict(merged)
    neck.merge(weights)
    torch.testing.assert_close(evaluate(baseline, clips()),
                               evaluate(neck, clips()))


def test_merging_works_inside_a_model_and_keeps_precision() -> None:
    state = {f'neck.{name}': value.bfloat16()
             for name, value in perturbed().state_dict().items()}
    state['backbone.weight'] = torch.ones(1)
    before = {name: value.clone() for name, value in state.items()}
    merged = merge_state_dict(state)
    assert len([name for name in merged if name.startswith('neck.')]) == len(
        small(num_experts=0).state_dict())
    assert merged['neck.resblocks.0.mlp.c_fc.bias'].dtype == torch.bfloat16
    assert merged['backbone.weight'] is state['backbone.weight']
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_the_plain_transformer_trains_with_one_branch() -> None:
    neck = perturbed(num_experts=0).train()
    before = torch.get_rng_state()
    (frames, temporal), losses = neck(clips())
    assert losses == {} and torch.equal(torch.get_rng_state(), before)
    temporal.square().sum().backward()
    assert all(p.grad is not None for p in neck.parameters())
    ffns = [[as_mlp(expert(block.mlp.c_fc, 0), expert(block.mlp.c_proj, 0))]
            for block in neck.resblocks]
    torch.testing.assert_close(temporal, plain(neck, clips(), ffns))
    torch.testing.assert_close(evaluate(neck, clips()), temporal.detach())


@torch.no_grad()
def test_one_expert_is_the_plain_transformer() -> None:
    neck = perturbed(num_experts=1)
    baseline = small(num_experts=0)
    baseline.load_state_dict(merge_state_dict(neck.state_dict()))
    torch.testing.assert_close(neck.train()(clips())[0][1],
                               baseline(clips())[0][1])


@pytest.mark.parametrize('design', list(experts.DESIGNS))
@pytest.mark.parametrize('given, wanted, message', [
    (0, 3, 'has no experts, as merged ones have none, and MoTE has '
     'num_experts=3: set num_experts=0 of the neck, as in --cfg-options '
     'model.neck.num_experts=0'),
    (3, 0, 'has 3 experts and MoTE has num_experts=0: set num_experts=3 of'),
    (3, 2, 'has 3 experts and MoTE has num_experts=2: set num_experts=3 of')])
def test_weights_of_another_number_of_experts_are_refused(
        given: int, wanted: int, message: str, design: str) -> None:
    model = nn.ModuleDict(dict(neck=small(num_experts=wanted, design=design)))
    other = nn.ModuleDict(dict(neck=small(num_experts=given, design=design)))
    with pytest.raises(RuntimeError, match=f'^the checkpoint {message}'):
        model.load_state_dict(other.state_dict())


def test_weights_of_another_design_are_refused() -> None:
    with pytest.raises(RuntimeError, match='does not fit.*MoTE'):
        small(num_experts=3).load_state_dict(
            small(num_experts=3, design='up').state_dict())


def test_state_dict_round_trip() -> None:
    neck, other = perturbed(), small()
    other.load_state_dict(neck.state_dict(), strict=True)
    assert torch.equal(evaluate(neck, clips()), evaluate(other, clips()))


# Inside a recognizer --------------------------------------------------------


def test_frames_may_be_fewer_than_in_training_and_more() -> None:
    neck = perturbed()
    for frames in (2, 4, 77):
        for mode in (True, False):
            features, _ = neck.train(mode)(clips(frames=frames))
            assert {x.shape for x in features} == {(2, frames, D)}


def test_the_neck_runs_in_mmactions_recognizer() -> None:
    model = MODELS.build(dict(
        type='Recognizer3D', test_cfg=dict(max_testing_views=2),
        backbone=dict(type='CLIPViT', num_frames=4, encoder=dict(
            arch=dict(embed_dims=16, num_layers=2, num_heads=2,
                      patch_size=16, image_size=32, output_dims=D),
            act='quick_gelu', project=True),
            adapters=[dict(type='InTI', layers=[0])]),
        neck=dict(type='MoTE', embed_dims=D, num_layers=2, num_heads=2),
        data_preprocessor=dict(type='mmaction.ActionDataPreprocessor')))
    model.train()
    x = torch.randn(2, 1, 3, 4, 32, 32)
    features, more = model.extract_feat(x, data_samples=[None, None])
    assert {f.shape for f in features} == {(2, 2, D)}  # InTI halved them
    assert more['loss_aux'].keys() == {'loss_mse'}
    sum(f.square().sum() for f in features).backward()
    assert all(p.grad is not None for p in model.neck.parameters())
    model.eval()
    with torch.no_grad():
        views, _ = model.extract_feat(
            x.view(1, 2, 3, 4, 32, 32), test_mode=True)
        assert len(views) == 2 and views[1].shape == (2, 2, D)
        model.test_cfg = None
        whole, _ = model.extract_feat(x, test_mode=True)
        torch.testing.assert_close(whole[1], views[1])


# Bad input ------------------------------------------------------------------


@pytest.mark.parametrize('options, message', [
    (dict(design='fnn'), "unknown design='fnn': use one of 'ffn', 'both', "
     "'up', 'down'"),
    (dict(routing='gate'), "unknown routing='gate': use one of 'multinomial'"),
    (dict(merged_branch='kl'), "unknown merged_branch='kl': use one of "
     "'head', 'mse', None"),
    (dict(temperature='beta'), "unknown temperature='beta': use"),
    (dict(mse='token'), "unknown mse='token': use one of 'frame', 'pooled'"),
    (dict(num_layers=0), 'num_layers=0 is too small: give at least 1'),
    (dict(num_experts=-1), 'num_experts=-1 is too small: give at least 0'),
    (dict(max_frames=1), 'max_frames=1 is too small: give at least 2'),
    (dict(num_heads=3), '8 channels cannot be divided into 3 heads: set'),
    (dict(beta=0), 'beta=0 makes no temperatures: give a positive number'),
    (dict(routing='all', design='up'), "routing='all' averages whole experts"
     ", and design='up' has none: use design='ffn'"),
    (dict(routing='fixed', merged_branch=None), "routing='fixed' without a "
     'merged branch trains 1 of 3 experts, and evaluation would average all'),
    (dict(merge_weights=0), 'the temperature 0 gives experts no weights: giv'),
    (dict(merge_weights=math.nan), 'the temperature nan gives experts no'),
    (dict(merge_weights=[1, 0]), '2 weights do not fit 3 experts: give one'),
    (dict(merge_weights=[1, 1, 0]), r'the weights 1, 1, 0 sum up to 2: give'),
    (dict(aggregation='logits'), "unknown aggregation='logits': use one of "
     "'merge', 'random', 'ensemble'"),
    (dict(aggregation='random', merge_weights=[1, 0, 0]), "aggregation="
     "'random' merges nothing, and merge_weights tells how to: remove one"),
    (dict(merge_weights=[[1, 0, 0]]), '1 lists of weights do not fit 2 layer'),
])
def test_bad_options_are_one_sentence(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f'^{message}') as error:
        small(**options)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('shape, message', [
    ((2, 4, 9), r'MoTE reads frame features \(B, T, 8\), got \(2, 4, 9\): se'),
    ((2, 8), r'MoTE reads frame features \(B, T, 8\), got \(2, 8\): set emb'),
    ((2, 1, 8), 'MoTE relates the frames of a clip, and the backbone gives '
     'one vector for each clip: use'),
    ((1, 78, 8), '78 frames do not fit 77 positions: give MoTE a larger max'),
])
def test_bad_features_are_one_sentence(shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=f'^{message}'):
        small()(torch.zeros(shape))


def test_nothing_to_merge_is_one_sentence() -> None:
    baseline = small(num_experts=0)
    with pytest.raises(ValueError, match='^MoTE has num_experts=0, nothing'):
        baseline.merge()
    with pytest.raises(ValueError, match='^the state dict has no experts of '
                       'MoTE: give'):
        merge_state_dict(baseline.state_dict())


def test_a_state_dict_with_broken_experts_is_refused() -> None:
    state = small().state_dict()
    name = 'resblocks.1.mlp.c_proj.1.bias'
    with pytest.raises(ValueError, match=r'^experts are missing, '
                       r'resblocks.1.mlp.c_proj.bias has \[0, 2\] of 3: giv'):
        merge_state_dict({k: v for k, v in state.items() if k != name})
    with pytest.raises(ValueError, match=r'^the experts of resblocks.1.mlp.'
                       r'c_proj.bias have the shapes \(8,\) and \(9,\): giv'):
        merge_state_dict({**state, name: torch.zeros(9)})


def test_weights_by_layer_must_fit() -> None:
    with pytest.raises(ValueError, match='^3 lists of weights do not fit 2 '
                       'layers: give one for each layer, or 2 numbers for'):
        layer_weights([[1, 0]] * 3, 2, 2)
