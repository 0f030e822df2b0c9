"""docs/extending.md, block by block, in a checkout of a user's own."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.compat.checkpoints import read_checkpoint
from tests.documents import call, files, lines, read
from tests.tiny import SIZE, write_tiny_config

TEXT = read('docs/extending.md')
FILES = files('docs/extending.md')
COMMANDS = lines('docs/extending.md')
CHECKPOINT = 'work_dirs/config/epoch_1.pth'


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's files, and a tiny version of the config they inherit."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs' / 'inti').mkdir(parents=True)
    write_tiny_config('inti/vitb_k400.py', folder / 'configs' / 'inti')
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder
    for name in ('FrameDifference', 'SmoothFrames'):
        MODELS.module_dict.pop(name, None)


def build(name: str) -> torch.nn.Module:
    init_default_scope('mmaction')
    return MODELS.build(Config.fromfile(name).model).eval()


@torch.no_grad()
def features(model: torch.nn.Module) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 1, 3, 16, SIZE, SIZE, generator=draw)
    return model.extract_feat(clip, test_mode=True)[0]


def test_every_block_of_the_document_is_used() -> None:
    assert TEXT.count('```python') == len(FILES) == 4
    assert [shlex.split(line)[:3] for line in COMMANDS] == [
        ['PYTHONPATH=.', 'python', f'tools/{name}.py']
        for name in ('train', 'test', 'get_flops')]
    assert len(FILES['my_parts/frame_difference.py'].splitlines()) <= 30


def test_the_commands_train_and_test_the_adapter(checkout: Path) -> None:
    train, test, flops = (
        line.replace('CHECKPOINT', CHECKPOINT) for line in COMMANDS)
    for line in (train, test):
        done = call(line, '--synthetic', '4')
    assert re.search(r'acc/top1: [01]\.\d+', done.stderr + done.stdout)
    # 4 blocks of 48 channels and a bottleneck of 32, with biases.
    done = call(flops)
    own, = re.findall(r'^FrameDifference .*$', done.stdout, re.MULTILINE)
    assert own.split()[-1] == f'{4 * (2 * 48 * 32 + 48 + 32) / 1e6:.3f}'
    state = read_checkpoint(checkout / CHECKPOINT, 'cpu')['state_dict']
    names = [f'backbone.adapters.1.{layer}.up.weight'
             for layer in (8, 9, 10, 11)]
    assert all(state[name].any() for name in names)  # it trained


def test_the_adapter_starts_as_nothing_and_sees_merged_frames(
        checkout: Path) -> None:
    model, plain = (build(f) for f in (
        'my_parts/config.py', 'configs/inti/vitb_k400.py'))
    plain.load_state_dict({
        key: value for key, value in model.state_dict().items()
        if '.adapters.1.' not in key})
    found = features(model)
    assert torch.equal(found, features(plain))
    seen = []
    adapter = model.backbone.adapters[1]['8']
    adapter.register_forward_pre_hook(
        lambda _, args: seen.append(args[1].num_frames))
    torch.nn.init.normal_(adapter.up.weight)
    assert not torch.allclose(features(model), found, atol=1e-4)
    assert seen == [4]  # of 16, after InTI twice


def test_a_neck_of_one_s_own_stands_before_the_head(checkout: Path) -> None:
    model = build('my_parts/config_neck.py')
    frames = features(model)
    del model.neck
    plain = features(model)
    assert frames.shape == plain.shape
    wanted = torch.stack([plain[:, :2].mean(1), plain[:, :3].mean(1),
                          plain[:, 1:].mean(1), plain[:, 2:].mean(1)], 1)
    torch.testing.assert_close(frames, wanted)
