"""tools/benchmark.py, on two tiny models."""

import argparse
import importlib.util
import json
import runpy
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.registry import DefaultScope

from mmvidadapt.apis.cli import load_config
from mmvidadapt.models.text import encode
from tests.conftest import ROOT
from tests.tiny import write_tiny_config

SCRIPT = ROOT / 'tools' / 'benchmark.py'
NAMES = ['vitb_k400_naive', 'vitb_k400']
PNG = b'\x89PNG\r\n\x1a\n'


@pytest.fixture
def configs(tmp_path: Path) -> list[str]:
    """The same encoder without and with merged frames."""
    return [write_tiny_config(f'inti/{name}.py', tmp_path) for name in NAMES]


def run(*args: str) -> int:
    """Run the tool in this process; its exit status."""
    argv, sys.argv = sys.argv, [str(SCRIPT), *args]
    scope = DefaultScope.get_current_instance()
    try:
        runpy.run_path(str(SCRIPT), run_name='__main__')
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = argv
        if scope is None:
            DefaultScope._instance_dict.clear()
    return 0


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    """The tool's functions."""
    spec = importlib.util.spec_from_file_location('benchmark', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def options(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> callable:
    """Parse a command line."""
    def parse(*args: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *args])
        return tool.parse_args()
    return parse


def test_it_measures_reports_writes_and_draws(
        configs: list[str], tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'new folder' / 'result'
    assert run(*configs, '--frames', '8', '--repeats', '3', '--warmup', '2',
               '--dtypes', 'fp32', '--device', 'cpu', '--out', str(out)) == 0
    said = capsys.readouterr().out

    content = json.loads(out.with_suffix('.json').read_text())
    assert content['batch'] == 1 and content['frames'] == 8
    assert content['memory'] == [] and content['text'] is None
    where = content['environment']
    assert where['torch'] == torch.__version__
    assert where['threads'] == torch.get_num_threads()
    assert where['clock'] == 'wall'
    assert 'CPU' in where['device'] and where['date'] and where['python']
    rows = content['rows']
    assert [(r['mode'], r['dtype'], r['name']) for r in rows] == [
        (mode, 'fp32', name) for mode in ('forward', 'train')
        for name in NAMES]
    for base, inti in (rows[:2], rows[2:]):
        assert base['time_ratio'] == base['mac_ratio'] == 1
        assert inti['time_ratio'] == inti['seconds'] / base['seconds']
        assert inti['mac_ratio'] == inti['gmacs'] / base['gmacs']
        # Half the frames from block 5 of 12 on, a quarter from block 7 on.
        assert .45 < inti['mac_ratio'] < .75
        assert inti['seconds'] > 0 and inti['spread'] >= 0
        assert inti['peak_mib'] is None
        line, = [line for line in said.splitlines()
                 if f'{inti["seconds"] * 1e3:.1f} (' in line
                 and line.startswith('vitb_k400 ')]
        assert f' {inti["mac_ratio"]:.3f} ' in line
    assert said.count('x MACs') == 2

    assert out.with_suffix('.png').read_bytes().startswith(PNG)
    assert sorted(p.name for p in out.parent.iterdir()) == [
        'result.json', 'result.png']

    # What it is at, before the first measurement.
    assert 'building 2/2: vitb_k400\n' in said
    assert ('train, fp32, batch 1 on cpu: warm-up 2/2 of vitb_k400\n'
            in said)


def test_one_measurement_gives_no_median(
        configs: list[str], tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'result'
    assert run(*configs, '--repeats', '1', '--out', str(out)) == 1
    assert capsys.readouterr().err == (
        'error: --repeats 1 gives no median: use at least 2\n')
    assert not list(tmp_path.glob('result*'))


# -- suites ----------------------------------------------------------------


def test_a_suite_fills_in_what_was_not_asked_for(tool, options) -> None:
    args = options()
    assert [entry.name for entry in tool.choose(args)] == [
        'vitb_k400_naive', 'vitb_k400_3-5', 'vitb_k400', 'vitb_k400_7-9',
        'vitb_k400_temp', 'mmaction2 UniFormerV2']
    assert args.frames is None
    assert [*args.modes] == ['forward', 'train']
    assert [*args.dtypes] == ['fp32', 'bf16']

    args = options('--suite', 'tds_clip')
    assert [entry.name for entry in tool.choose(args)] == [
        'full fine-tuning', 'side4video', 'tds_clip', 'tds_clip lean',
        'tds_clip bf16']
    assert args.frames == 8
    assert [*args.modes] == ['train', 'memory'] and [*args.dtypes] == ['fp32']

    args = options('--suite', 'mote')
    assert [entry.name for entry in tool.choose(args)] == [
        'plain transformer', 'mote']
    assert args.frames == 8 and [*args.dtypes] == ['fp32']
    assert [*args.modes] == ['forward', 'train', 'text']

    args = options('--suite', 'msta')
    assert [entry.name for entry in tool.choose(args)] == [
        'full fine-tuning', 'msta', 'msta text_batch=8']
    assert args.frames == 8 and [*args.dtypes] == ['fp32']
    assert [*args.modes] == ['forward', 'train', 'memory']

    args = options('--suite', 'tds_clip', '--frames', '16', '--modes',
                   'forward', '--dtypes', 'bf16')
    tool.choose(args)
    assert (args.frames, args.modes, args.dtypes) == (
        16, ['forward'], ['bf16'])


@pytest.mark.parametrize('arch, width', [('vitb', 'ViT-B-16'),
                                         ('vitl', 'ViT-L-14')])
def test_tds_clip_is_compared_with_training_all_of_the_same_vit(
        tool, options, arch, width) -> None:
    args = options('--suite', 'tds_clip', '--arch', arch)
    backbones = {entry.name: tool.read_entry(entry, args.frames or 8)
                 .model.backbone for entry in tool.choose(args)}
    assert {b.encoder.arch for b in backbones.values()} == {width}
    assert {b.num_frames for b in backbones.values()} == {8}
    full = backbones.pop('full fine-tuning')
    assert full.type == 'CLIPViT' and not full.get('adapters')
    assert not full.encoder.get('frozen')
    switches = {
        name: (b.preset, b.get('with_cp'), b.get('encoder_dtype'))
        for name, b in backbones.items()}
    assert switches == {
        'side4video': ('side4video', None, None),
        'tds_clip': ('paper', None, None),
        'tds_clip lean': ('paper', True, None),
        'tds_clip bf16': ('paper', None, 'bfloat16')}


@pytest.mark.parametrize('arch, layers', [('vitb', 4), ('vitl', 6)])
def test_mote_is_compared_with_itself_without_experts(
        tool, options, arch, layers) -> None:
    plain, mote = (tool.read_entry(entry, 8).model for entry in tool.choose(
        options('--suite', 'mote', '--arch', arch)))
    assert (plain.neck.num_experts, mote.neck.num_experts) == (0, 4)
    plain.neck.num_experts = 4
    assert plain == mote and mote.neck.num_layers == layers
    assert not mote.backbone.encoder.with_cp
    assert mote.cls_head.classes == 'k400'


@pytest.mark.parametrize('arch, trained', [('vitb', 8_712_192),
                                           ('vitl', None)])
def test_msta_is_compared_with_training_both_towers(
        tool, options, arch, trained) -> None:
    entries = tool.choose(options('--suite', 'msta', '--arch', arch))
    full, msta, parts = (tool.read_entry(entry, 8).model for entry in entries)
    assert parts.text_batch == 8
    del parts['text_batch']
    assert parts == msta and msta.consistency is None
    if trained is None:
        return
    with torch.device('meta'):
        model = MODELS.build(msta)
    assert trained == sum(p.numel() for p in model.parameters()
                          if p.requires_grad)
    assert len(model.cls_head.class_names) == 51
    # What the config of full fine-tuning says.
    alone = load_config(
        str(ROOT / 'configs' / 'msta' / 'vitb_base-novel_ucf101_full.py'))
    alone.model.pop('data_preprocessor')
    assert full == alone.model


def test_targets_are_those_of_vit_b_at_the_frames_of_the_suite(
        tool, options) -> None:
    def targets(*args: str) -> dict:
        entries = tool.choose(options('--suite', *args))
        return {e.name: e.targets for e in entries if e.targets}

    assert targets('tds_clip') == {
        'tds_clip': dict(time=0.54), 'tds_clip lean': dict(peak=0.40),
        'tds_clip bf16': dict(time=0.36)}
    assert targets('mote') == {'mote': dict(time=1.04, forward=1.02)}
    assert targets('msta') == {'msta': dict(
        time=0.75, forward=pytest.approx(1 / 0.95))}
    for suite in ('tds_clip', 'mote', 'msta'):
        assert targets(suite, '--frames', '16') == {}
        assert targets(suite, '--arch', 'vitl') == {}


@pytest.mark.parametrize('mode, dtype, target', [
    ('train', 'fp32', 1.04), ('forward', 'fp32', 1.02),
    ('train', 'bf16', None), ('forward', 'bf16', None)])
def test_a_target_belongs_to_its_mode_in_full_precision(
        tool, monkeypatch, mode, dtype, target) -> None:
    monkeypatch.setattr(tool, 'make_step', lambda *_: lambda: None)
    case = tool.Case('mote', None, 1, 8, (), dict(time=1.04, forward=1.02))
    row, = tool.measure([case], mode, dtype, 1, torch.device('cpu'), 2, 0)
    assert row.target == target


def test_a_suite_and_configs_are_one_too_many(tool, options) -> None:
    with pytest.raises(ValueError, match='--suite inti chooses models, and '
                       'so do the configs: give one of both'):
        tool.choose(options('a.py', '--suite', 'inti'))
    with pytest.raises(ValueError, match='--arch vitl chooses models'):
        tool.choose(options('a.py', '--arch', 'vitl'))


@pytest.mark.parametrize('cost, left', [(6.2, 4), (0.5, 5)])
def test_bf16_is_left_out_where_it_is_slow(
        tool, options, monkeypatch, capsys, cost, left) -> None:
    monkeypatch.setattr(tool, 'bf16_cost', lambda device: cost)
    entries = tool.choose(options('--suite', 'tds_clip'))
    found = tool.leave_out(entries, torch.device('cpu'))
    assert found == entries[:left]
    assert capsys.readouterr().out == ('' if left == 5 else (
        'left out tds_clip bf16: a bfloat16 product takes 6.2 times as long '
        'as a float32 one on this processor\n'))


def test_the_cost_of_bf16_is_that_of_its_products(tool, monkeypatch) -> None:
    seconds = dict(fp32=iter([9, 2, 4, 3]), bf16=iter([1, 5, 7, 6]))

    def timed(step, device):
        name = 'bf16' if step().dtype == torch.bfloat16 else 'fp32'
        return next(seconds[name]), None

    monkeypatch.setattr(tool, 'timed', timed)
    assert tool.bf16_cost(torch.device('cpu')) == 2.5


# -- classes and clocks ----------------------------------------------------


@pytest.fixture
def mote_config(tmp_path: Path) -> str:
    folder = tmp_path / 'mote'
    folder.mkdir()
    return write_tiny_config('mote/vitb_k400.py', folder,
                             model__cls_head__templates=['a {}.', 'the {}.'])


def test_classes_are_encoded_once_and_then_read(
        mote_config, configs, tmp_path, capsys) -> None:
    out = tmp_path / 'result'
    assert run(configs[0], mote_config, '--modes', 'text', '--device', 'cpu',
               '--out', str(out)) == 0
    content = json.loads(out.with_suffix('.json').read_text())
    text = content['text']
    assert (text['name'], text['classes'], text['templates']) == (
        'vitb_k400', 400, 2)
    assert 0 < text['warm_seconds'] < 1 == text['target']
    assert text['seconds'] > 2 * text['warm_seconds']
    said = capsys.readouterr().out
    assert (f"400 classes x 2 templates: {text['seconds']:.1f} s, from the "
            f"cache {text['warm_seconds']:.3f} s  (target 1.00: met)") in said
    assert content['rows'] == []
    assert not out.with_suffix('.png').exists()  # nothing to draw


def test_a_warm_start_that_encodes_is_an_error(
        tool, mote_config, monkeypatch) -> None:
    monkeypatch.setattr(encode, 'cached', lambda folder, key, compute:
                        compute())
    with pytest.raises(RuntimeError, match='cache was there and the tower '
                       'was built'):
        tool.measure_text([tool.Entry('tiny', mote_config)],
                          torch.device('cpu'), 'wall')


def test_classes_need_a_text_head(configs, tmp_path, capsys) -> None:
    assert run(*configs, '--modes', 'text', '--out',
               str(tmp_path / 'result')) == 1
    assert capsys.readouterr().err == (
        'error: --modes text encodes the classes of a TextHead, and no config '
        'has one: leave text out\n')


def test_the_clock_of_the_processor_stands_still_in_sleep(
        tool, configs, tmp_path) -> None:
    def sleep() -> None:
        time.sleep(0.05)

    cpu = torch.device('cpu')
    assert tool.timed(sleep, cpu)[0] >= 0.05
    assert tool.timed(sleep, cpu, tool.CLOCKS['cpu'])[0] < 0.04
    out = tmp_path / 'result'
    assert run(*configs[:1], '--modes', 'forward', '--dtypes', 'fp32',
               '--clock', 'cpu', '--device', 'cpu', '--repeats', '2',
               '--out', str(out)) == 0
    content = json.loads(out.with_suffix('.json').read_text())
    assert content['environment']['clock'] == 'cpu'


def test_the_clock_of_the_processor_is_not_that_of_a_gpu(
        configs, tmp_path, capsys) -> None:
    assert run(*configs, '--clock', 'cpu', '--device', 'cuda', '--out',
               str(tmp_path / 'result')) == 1
    assert capsys.readouterr().err == (
        'error: --clock cpu does not see what cuda does: leave it out, or '
        'add --device cpu\n')


# -- memory ----------------------------------------------------------------


@pytest.fixture
def tds_config(tmp_path: Path) -> str:
    return write_tiny_config(
        'tds_clip/vitb_k400.py', tmp_path, model__backbone__num_frames=2)


def case_of(tool: ModuleType, config: str, **changes: object) -> object:
    """A model of the tool, with changed switches of its backbone."""
    return tool.build_case(tool.Entry('tiny', config, {
        f'model.backbone.{key}': value for key, value in changes.items()}), 2)


def test_a_clip_holds_every_frame_of_its_windows(tool, tds_config) -> None:
    assert case_of(tool, tds_config).shape == (1, 1, 3, 2 * 5, 32, 32)
    plain = case_of(tool, tds_config, preset='side4video')
    assert plain.shape == (1, 1, 3, 2, 32, 32) and plain.frames == 2


def test_a_training_step_moves_what_trains_by_adamw(
        tool, tds_config) -> None:
    case = case_of(tool, tds_config)
    step = tool.TrainStep(case, torch.float32, 2, torch.device('cpu'))
    before = {k: v.clone() for k, v in case.model.named_parameters()}
    step()
    for name, param in case.model.named_parameters():
        frozen = name.startswith('backbone.encoder.')
        assert torch.equal(param, before[name]) == frozen, name
        assert ('exp_avg_sq' in step.optimizer.state[param]) != frozen, name


def test_saved_bytes_of_a_step_are_those_of_the_side_network(
        tool, tds_config) -> None:
    def saved(**changes: object) -> int:
        case = case_of(tool, tds_config, **changes)
        step = tool.TrainStep(case, torch.float32, 2, torch.device('cpu'))
        return step.saved_bytes()

    plain = saved()
    assert saved(with_cp=True) < 0.4 * plain
    # Of CLIP, the side network keeps what it reads, and nothing inside.
    wide = saved(**{'encoder.arch.mlp_ratio': 16.0})
    assert wide == plain


def test_memory_is_measured_in_a_process_of_its_own(
        tds_config, tmp_path, capsys) -> None:
    out = tmp_path / 'result'
    assert run(tds_config, '--modes', 'memory', '--dtypes', 'fp32',
               '--batch', '2', '--device', 'cpu', '--explain', '--out',
               str(out)) == 0
    content = json.loads(out.with_suffix('.json').read_text())
    assert content['rows'] == [] and content['frames'] == 2
    row, = content['memory']
    assert (row['name'], row['dtype']) == ('vitb_k400', 'fp32')
    peak = row['at_peak']
    assert peak['total'] == sum(peak['kinds'].values())
    assert set(peak['kinds']) >= {
        'frozen weights', 'trained weights', 'AdamW', 'clips'}
    assert row['peak_mib'] > peak['total'] / 2**20 > row['saved_mib'] > 0
    assert row['peak_ratio'] == 1
    said = capsys.readouterr().out
    assert f"{row['saved_mib']:.1f}\n" in said
    assert 'MiB in tensors at the peak, with the result of aten.' in said
    assert out.with_suffix('.png').read_bytes().startswith(PNG)


def test_a_process_that_dies_is_an_error(
        tool, options, tds_config, monkeypatch) -> None:
    args = options(tds_config, '--modes', 'memory')
    entries = tool.choose(args)
    seen = []

    def killed(command: list[str], **_: object) -> object:
        seen.append(command)
        return subprocess.CompletedProcess(command, -9, '', 'one\nKilled\n')

    monkeypatch.setattr(subprocess, 'run', killed)
    with pytest.raises(ValueError, match='the process that measures vitb_k400 '
                       "ended with -9 and said 'Killed': see whether"):
        tool.measure_memory(entries, 'bf16', args)
    # The child knows the model and the precision, whatever else was asked.
    child = options(*seen[0][2:])
    assert tool.Entry(**json.loads(child.peak_of)) == entries[0]
    assert child.dtypes == ['bf16']


def test_ratios_stand_beside_their_targets(tool) -> None:
    table = tool.format_memory([
        tool.MemoryRow('fp32', 'full', 3000., 1., 2000.),
        tool.MemoryRow('fp32', 'lean', 1230., 0.41, 99.94, 0.40)])
    assert table.splitlines() == [
        'model  peak MiB  x peak  saved MiB',
        'full      3000   1.000     2000.0',
        'lean      1230   0.410       99.9  (target 0.40: missed)']
    assert tool.format_rows([
        tool.Row('train', 'fp32', 'tds', 181., 2., .1, .54, 1.2, None, .54)
    ]).endswith('  (target 0.54: met)')


# -- a process of its own --------------------------------------------------


def test_only_the_lean_backward_takes_its_turns_elsewhere(
        tool, options) -> None:
    for suite, wanted in (('inti', []), ('tds_clip', ['tds_clip lean'])):
        entries = tool.choose(options('--suite', suite))
        assert wanted == [entry.name for entry in entries
                          if tool.changes_process(entry)]


@pytest.mark.slow
def test_a_lean_model_is_timed_beside_the_others(
        tds_config, tmp_path, tool) -> None:
    lean = tmp_path / 'lean.py'
    lean.write_text(f'_base_ = {Path(tds_config).name!r}\n'
                    'model = dict(backbone=dict(with_cp=True))\n')
    out = tmp_path / 'result'
    assert run(tds_config, str(lean), '--modes', 'train', '--dtypes', 'fp32',
               '--batch', '2', '--device', 'cpu', '--warmup', '1',
               '--repeats', '2', '--out', str(out)) == 0
    plain, lean = json.loads(out.with_suffix('.json').read_text())['rows']
    assert (plain['name'], lean['name']) == ('vitb_k400', 'lean')
    assert lean['mac_ratio'] == 1 and lean['seconds'] > 0
    assert lean['time_ratio'] == lean['seconds'] / plain['seconds']


def test_a_worker_runs_what_it_is_told(
        tool, options, tds_config, monkeypatch, capsys) -> None:
    args = options(tds_config, '--batch', '3')
    entry, = tool.choose(args)
    made = []

    def make_step(case, mode, dtype, batch, device) -> object:
        made.append((mode, dtype, batch))
        return lambda: None

    monkeypatch.setattr(tool, 'make_step', make_step)
    monkeypatch.setattr(sys, 'stdin', iter(
        ['train fp32\n', 'train fp32\n', 'forward bf16\n']))
    tool.serve(entry, args, torch.device('cpu'))
    about, *timed = [
        json.loads(line[len(tool.ANSWER):])
        for line in capsys.readouterr().out.splitlines()]
    assert about['shape'] == [1, 1, 3, 10, 32, 32] and about['frames'] == 2
    assert about['macs'] == tool.build_cases([entry], 2)[0].macs > 0
    assert len(timed) == 3 and all(one['timed'][0] > 0 for one in timed)
    assert made == [
        ('train', torch.float32, 3), ('forward', torch.bfloat16, 3)]


def test_a_worker_that_dies_is_an_error(tool, monkeypatch, capfd) -> None:
    monkeypatch.setattr(tool, 'child_command', lambda option, entry: [
        sys.executable, '-c', f'import sys; sys.exit({option!r})'])
    with pytest.raises(ValueError, match='the process that runs gone ended '
                       'with 1: see what it said above'):
        tool.Worker(tool.Entry('gone', 'gone.py'))
    assert capfd.readouterr().err == '--serve\n'


def test_explain_needs_memory(configs, tmp_path, capsys) -> None:
    assert run(*configs, '--explain', '--modes', 'train', '--out',
               str(tmp_path / 'result')) == 1
    assert capsys.readouterr().err == (
        'error: --explain tells what the mode memory finds: add memory to '
        '--modes\n')


# -- precision -------------------------------------------------------------


@pytest.mark.slow
def test_bf16_moves_each_tap_of_vit_b_by_two_percent_at_most(tool) -> None:
    entry = tool.tds_clip_entries('vitb')[-1]
    model = tool.build_case(entry, 1).model.backbone.eval()
    taps = {}
    for dtype in ('bfloat16', None):
        found = taps[dtype] = []
        hooks = [block.register_forward_hook(
            lambda *a, found=found: found.append(a[2][0]))
            for block in model.encoder.transformer.resblocks]
        model.encoder_dtype = dtype
        with torch.no_grad():
            model(torch.randn(1, 3, 5, 224, 224, generator=torch.Generator()
                              .manual_seed(0)))
        for hook in hooks:
            hook.remove()
    assert len(taps[None]) == 12
    for rough, exact in zip(*taps.values(), strict=True):
        error = (rough - exact).norm() / exact.norm()
        assert 0 < error < 2e-2


# -- readers ---------------------------------------------------------------


@pytest.mark.parametrize('args, message', [
    (['--readers', '--suite', 'inti'], '--readers measures no model: give it '
     'without configs, --suite and --data'),
    (['--readers', '--data', 'a.py'], '--readers measures no model'),
    (['--readers', '--samples', '4'],
     '--samples is about reading: add --data CONFIG'),
    (['--re-encode'], '--re-encode is about readers: add --readers'),
    (['--pipeline', 'a.py'], '--pipeline is about readers'),
    (['--rate', '0'], '--rate is about readers'),
    (['--data', 'a.py', '--rate', '9'], '--rate is about readers')])
def test_options_of_readers_stand_alone(args, message, tmp_path, capsys):
    assert run(*args, '--out', str(tmp_path / 'result')) == 1
    assert capsys.readouterr().err.startswith(f'error: {message}')
    assert not list(tmp_path.iterdir())
