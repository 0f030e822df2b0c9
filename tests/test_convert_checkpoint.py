"""``tools/convert_checkpoint.py``: from a published file to a test run."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvidadapt.apis import METHODS, load_official
from mmvidadapt.compat.checkpoints import read_checkpoint
from tests.conftest import ROOT
from tests.scripts import Finished, tool, write_list
from tests.test_side_parity import clip_of, golden

TOOL = ROOT / 'tools' / 'convert_checkpoint.py'
SCRIPT = runpy.run_path(str(TOOL))
SERIAL = ('test_dataloader.num_workers=0',
          'test_dataloader.persistent_workers=False')


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch,
            capsys: pytest.CaptureFixture) -> Any:
    """Run the tool in this process."""
    def run(*args: object) -> Finished:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL), run_name='__main__')
        return Finished(end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def source(goldens: Path, tmp_path: Path) -> Path:
    """A tiny TDS-CLIP checkpoint as its program saves one."""
    path = tmp_path / 'published.pt'
    state = golden(goldens, 'tds_clip_tiny')['state_dict']
    torch.save(dict(
        epoch=29, optimizer_state_dict=dict(state={}, param_groups=[]),
        model_state_dict={f'module.{k}': v for k, v in state.items()}), path)
    return path


def test_the_pair_of_files_is_the_published_model(
        goldens: Path, tmp_path: Path, source: Path, convert: Any) -> None:
    out = tmp_path / 'new' / 'ours.pth'
    done = convert('tds_clip', source, out, '--num-frames', 4, '--dataset',
                   'ssv2')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f'wrote {out}: 190 tensors, 1.01 M numbers, 5 classes',
        f'wrote {out.with_suffix(".py")}: test protocol of ssv2',
        f'Now run: python tools/test.py {out.with_suffix(".py")} {out}']
    assert sorted(p.name for p in out.parent.iterdir()) == [
        'ours.pth', 'ours.py']
    data = golden(goldens, 'tds_clip_tiny')
    model = init_recognizer(str(out.with_suffix('.py')), str(out), 'cpu')
    with torch.no_grad():
        logits = model.cls_head(model.backbone(clip_of(data)))
    torch.testing.assert_close(logits, data['eval']['logits'], atol=2e-5,
                               rtol=0)
    # The file knows its config, as MMEngine's own checkpoints do.
    text = read_checkpoint(out, 'cpu')['meta']['cfg']
    config = Config.fromstring(text, '.py')
    assert config.model == Config.fromfile(out.with_suffix('.py')).model
    first = out.with_suffix('.py').read_text().splitlines()[0]
    assert first == ('# Written by tools/convert_checkpoint.py: tds_clip, 4 '
                     'frames, ssv2, from published.pt.')


@pytest.mark.parametrize('method, dataset', [
    ('tds_clip', 'ssv1'), ('tds_clip', 'k400'), ('side4video', 'ssv2')])
def test_a_converted_checkpoint_is_tested_on_generated_videos(
        goldens: Path, tmp_path: Path, convert: Any, method: str,
        dataset: str) -> None:
    out = tmp_path / 'ours.pth'
    done = convert(method, goldens / f'{method}_tiny.pt', out, '--num-frames',
                   4, '--dataset', dataset, '--cfg-options', *SERIAL)
    assert done.returncode == 0, done.stderr
    done = tool('test.py', str(tmp_path / 'ours.py'), str(out),
                '--synthetic', '2', '--work-dir', str(tmp_path / 'work'))
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'acc/top1: ' in done.stdout + done.stderr


def test_a_converted_checkpoint_is_tested_on_real_videos(
        goldens: Path, shared_data: Path, tmp_path: Path,
        convert: Any) -> None:
    videos = shared_data / 'videos'
    lines = write_list(tmp_path, ['demo.mp4 1', 'test.mp4 0', 'test.avi 3'])
    out = tmp_path / 'ours.pth'
    done = convert(
        'tds_clip', goldens / 'tds_clip_tiny.pt', out, '--num-frames', 4,
        '--dataset', 'k400', '--cfg-options', *SERIAL,
        f'test_dataloader.dataset.ann_file={lines}',
        f'test_dataloader.dataset.data_prefix.video={videos}')
    assert done.returncode == 0, done.stderr
    config, work = tmp_path / 'ours.py', tmp_path / 'work'
    done = tool('test.py', str(config), str(out), '--work-dir', str(work),
                '--dump', str(tmp_path / 'scores.pkl'))
    assert done.returncode == 0, done.stderr[-3000:]
    metrics, = [json.loads(path.read_text())
                for path in work.glob('*/*.json')]
    assert 0 <= metrics['acc/top1'] <= 1
    # MMAction2's own function sees the same scores.
    model = init_recognizer(str(config), str(out), 'cpu')
    found = inference_recognizer(model, str(videos / 'demo.mp4'))
    dumped = torch.from_numpy(_scores(tmp_path / 'scores.pkl')[0])
    torch.testing.assert_close(found.pred_score, dumped, atol=1e-5, rtol=0)
    DefaultScope._instance_dict.clear()


def _scores(path: Path) -> list:
    from mmengine.fileio import load
    return [sample['pred_score'].numpy() for sample in load(path)]


def test_what_the_documentation_shows_runs(
        source: Path, tmp_path: Path, convert: Any,
        monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / 'docs' / 'weights.md').read_text()
    text = text.partition('## Published models\n')[2]
    shell, = re.findall('```shell\n(.*?)```', text, re.DOTALL)
    code, = re.findall('```python\n(.*?)```', text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shell = shell.replace('SRC', str(source)).replace('DST', 'ours')
    first, second = (shlex.split(line, comments=True)
                     for line in shell.splitlines())
    assert first[:2] == ['python', 'tools/convert_checkpoint.py']
    assert second[:2] == ['python', 'tools/test.py']
    done = convert(*first[2:])
    assert done.returncode == 0, done.stderr
    done = tool('test.py', *second[2:], '--synthetic', '1', '--cfg-options',
                *SERIAL)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict = {}
    exec(code.replace('SRC', str(source)), found)
    state = read_checkpoint('ours.pth', 'cpu')['state_dict']
    assert state.keys() == found['state_dict'].keys()
    # Every override has a row of the table, and no other has one.
    rows = re.findall(r'^\| `(\w+)`', text, re.MULTILINE)
    assert set(rows) == set(METHODS['tds_clip'].__kwdefaults__)


# The config -----------------------------------------------------------------


def config_of(goldens: Path, method: str = 'tds_clip', frames: int = 16,
              dataset: str | None = None, classes: int = 400) -> Config:
    model, _ = load_official(
        method, golden(goldens, f'{method}_tiny'), num_frames=frames)
    _, protocol = SCRIPT['choose_protocol'](method, classes, dataset)
    return SCRIPT['evaluation_config'](model, protocol)


def step(config: Config, name: str) -> dict | None:
    steps = {step.type: step
             for step in config.test_dataloader.dataset.pipeline}
    return steps.get(name)


def test_protocol_is_chosen_by_the_classes_unless_named(
        tmp_path: Path, source: Path, convert: Any) -> None:
    choose = SCRIPT['choose_protocol']
    assert [choose('tds_clip', n)[0] for n in (174, 400, 5)] == [
        'ssv2', 'k400', 'k400']
    assert choose('tds_clip', 174, 'ssv1')[0] == 'ssv1'
    with pytest.raises(ValueError, match='tds_clip was not published on '
                       'ucf101: give --dataset ssv1 or ssv2 or k400'):
        choose('tds_clip', 5, 'ucf101')
    done = convert('tds_clip', source, tmp_path / 'ours.pth', '--num-frames',
                   4)
    assert ('test protocol of k400, chosen by 5 classes; --dataset names '
            'another') in done.stdout


def test_kinetics_wraps_at_the_start(goldens: Path) -> None:
    window = step(config_of(goldens), 'LocalWindow')
    assert (window.window, window.ends) == (5, 'wrap')
    assert window.sampler == dict(type='KineticsSample', clip_len=16,
                                  num_clips=4, test_mode=True)


def test_frame_folders_end_as_published(goldens: Path) -> None:
    for dataset in ('ssv1', 'ssv2'):
        window = step(config_of(goldens, dataset=dataset), 'LocalWindow')
        assert (window.window, window.get('ends', 'clamp')) == (5, 'clamp')
        assert window.sampler.type == 'SomethingSample'
        assert window.sampler.num_clips == 2


def test_side4video_has_a_sampler_and_no_window(goldens: Path) -> None:
    config = config_of(goldens, 'side4video')
    assert step(config, 'LocalWindow') is None
    assert step(config, 'KineticsSample').clip_len == 16


def test_frames_are_as_large_as_the_model_s(goldens: Path) -> None:
    config = config_of(goldens, dataset='ssv2')  # 32 pixels, not 224
    assert step(config, 'Resize').scale == (46, 37)
    assert step(config, 'WideThreeCrop').crop_size == 32
    assert step(config_of(goldens), 'Resize').scale == (-1, 37)
    assert config.test_pipeline == config.test_dataloader.dataset.pipeline


def test_every_method_has_a_protocol() -> None:
    assert SCRIPT['PROTOCOLS'].keys() == METHODS.keys()
    for protocols in SCRIPT['PROTOCOLS'].values():
        for name in protocols.values():
            assert (SCRIPT['BASE'] / 'datasets' / name).is_file()


# Bad input ------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path, source: Path,
                                convert: Any) -> None:
    args = ('tds_clip', source, tmp_path / 'ours.pth', '--num-frames', 4,
            '--dataset', 'ssv2')
    for name in ('ours.pth', 'ours.py'):
        taken = tmp_path / name
        taken.write_text('precious')
        assert convert(*args).error == (
            f'{taken} exists: choose another name, or delete it first')
        assert taken.read_text() == 'precious'
        taken.unlink()


@pytest.mark.parametrize('args, message', [
    (['--dataset', 'ssv2'], 'the shapes of a tds_clip checkpoint do not tell '
     'the frames of a clip: give num_frames'),
    (['--num-frames', '4', '--override', 'heads=3'],
     "tds_clip has no override 'heads': use num_frames, num_heads"),
    (['--num-frames', '4', '--override', 'side_heads=3'],
     'side_heads=3 does not divide 64 channels'),
    (['--num-frames', '4', '--override', 'act=relu'],
     "unknown activation 'relu': use gelu or quick_gelu"),
    (['--override', 'num_frames=4'],
     'num_frames in --override is not looked for: give --num-frames 4'),
])
def test_bad_options_write_nothing(
        tmp_path: Path, source: Path, convert: Any, args: list[str],
        message: str) -> None:
    done = convert('tds_clip', source, tmp_path / 'new' / 'ours.pth', *args)
    assert done.error.startswith(message)
    assert not (tmp_path / 'new').exists()


def test_a_name_without_pth_is_refused(tmp_path: Path, source: Path,
                                       convert: Any) -> None:
    done = convert('tds_clip', source, tmp_path / 'ours', '--num-frames', 4)
    assert done.error == (
        f'{tmp_path / "ours"} does not end in .pth: name the checkpoint so; '
        'its config is then named like it, in .py')


def test_the_other_method_is_named(tmp_path: Path, source: Path,
                                   convert: Any) -> None:
    done = convert('side4video', source, tmp_path / 'ours.pth',
                   '--num-frames', 4)
    assert done.error == ('this is a tds_clip checkpoint, not a side4video '
                          'one: convert it as tds_clip')


def test_a_damaged_file_is_named(tmp_path: Path, source: Path,
                                 convert: Any) -> None:
    source.write_bytes(source.read_bytes()[:-1000])
    done = convert('tds_clip', source, tmp_path / 'ours.pth', '--num-frames',
                   4)
    assert f'{source} is truncated or damaged' in done.error


def test_an_unknown_method_is_refused_with_the_known(
        tmp_path: Path, source: Path, convert: Any) -> None:
    done = convert('tds', source, tmp_path / 'ours.pth')
    assert done.returncode == 2
    assert "invalid choice: 'tds'" in done.stderr
    assert all(name in done.stderr for name in METHODS)


def test_a_write_that_fails_leaves_nothing(
        tmp_path: Path, goldens: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(goldens)
    out = tmp_path / 'ours.pth'

    def full(*args: object, **kwargs: object) -> None:
        raise OSError('disk full')

    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError, match='disk full'):
        SCRIPT['write_pair']({}, config, out, 'title')
    assert not any(tmp_path.iterdir())


def test_help_ends_with_a_command_to_paste() -> None:
    done = tool('convert_checkpoint.py', '--help')
    assert done.returncode == 0
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith('  python tools/convert_checkpoint.py tds_clip ')
