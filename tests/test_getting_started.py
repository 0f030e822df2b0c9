"""docs/getting_started.md, line by line, after a quickstart made small."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from mmvidadapt.quickstart import pretrain, synthetic
from mmvidadapt.quickstart.methods import DEFAULT, METHODS
from tests.conftest import ROOT
from tests.documents import blocks, call, files, lines, read
from tests.scripts import Finished, tool, working_in
from tests.tiny import write_tiny_config

PAGE = 'docs/getting_started.md'
TEXT = read(PAGE)
COMMANDS = [line for line in lines(PAGE) if line.startswith('python')]
(MINE, BLOCK), = files(PAGE).items()
CHECKPOINT = '.quickstart/inti/epoch_6.pth'
IN_PROCESS = [f'{split}_dataloader.{option}'
              for split in ('train', 'val', 'test')
              for option in ('num_workers=0', 'persistent_workers=False')]


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder after ``bash tools/quickstart.sh``, in small."""
    root = tmp_path_factory.mktemp('checkout')
    work = root / '.quickstart'
    (root / 'configs').symlink_to(ROOT / 'configs')
    folder, videos = next(iter(
        METHODS[DEFAULT].study.videos(0, short=True).items()))
    for _ in synthetic.write_dataset(
            work / folder, replace(videos, train=1, val=1, test=1)):
        pass
    pretrain.save_weights(pretrain.SmallCLIP(),
                          work / 'clip' / 'small_clip.pt')
    (root / MINE).parent.mkdir()
    (root / MINE).write_text(BLOCK)
    with working_in(root):
        done = tool('train.py', 'configs/quickstart/inti.py', '--work-dir',
                    str(Path(CHECKPOINT).parent), '--cfg-options', *IN_PROCESS)
        assert done.returncode == 0, done.stderr
        yield root


def run(script: str, *options: str) -> Finished:
    """Run the line of the document that calls a script."""
    command, = [line for line in COMMANDS if f'tools/{script}' in line]
    return call(command, *options)


def test_the_files_named_are_those_of_the_quickstart(checkout: Path) -> None:
    named = set(re.findall(r'\.quickstart/data/\w+/\w+\.mp4', TEXT))
    assert len(named) == 3
    assert all(Path(name).is_file() for name in named)
    folder, videos = next(iter(
        METHODS[DEFAULT].study.videos(0, short=False).items()))
    assert f'{videos.num_clips:,} small videos' in TEXT


def test_predictions_are_printed_written_and_drawn(checkout: Path) -> None:
    done = run('predict.py')
    # One training step knows no class; that it names some is what counts.
    assert len(re.findall(r'tunnel_\w+_000\.mp4: a [a-z ]+ 0\.\d+, a ',
                          done.stdout)) == 2
    assert len(json.loads(Path('.quickstart/scores.json').read_text())) > 0
    assert cv2.imread('.quickstart/sheet.png').std() > 10


def test_what_inti_keeps_is_drawn(checkout: Path) -> None:
    run('visualize.py')
    assert cv2.imread('.quickstart/pictures/inti.png').std() > 10


def test_the_report_is_written_with_predictions(checkout: Path) -> None:
    run('test.py configs/quickstart', '--cfg-options', *IN_PROCESS)
    run('report.py')
    page = Path('.quickstart/inti/report.html').read_text()
    assert '<section id="confusion">' in page


def test_python_gives_a_label(checkout: Path,
                              capsys: pytest.CaptureFixture) -> None:
    block, = [text for note, text in blocks(PAGE) if note == 'run']
    exec(block)
    *_, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'a [a-z ]+ 0\.\d+', last)


def test_the_changed_config_trains_adapters_only_and_is_tested(
        checkout: Path) -> None:
    counted = run(f'get_flops.py {MINE}').stdout
    row, = re.findall(r'^backbone .*$', counted, re.MULTILINE)
    assert row.split()[-1] == '0.000'  # millions of parameters that train
    run(f'train.py {MINE}', '--cfg-options', *IN_PROCESS)
    assert Path('work_dirs/frozen/epoch_6.pth').is_file()
    done = run(f'test.py {MINE}', '--cfg-options', *IN_PROCESS)
    assert 'acc/top1' in done.stdout + done.stderr


def test_a_config_of_a_paper_trains_without_data(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs' / 'inti').mkdir(parents=True)
    write_tiny_config('inti/vitb_k400.py', tmp_path / 'configs' / 'inti')
    run('train.py configs/inti')
    assert Path('work_dirs/vitb_k400/epoch_1.pth').is_file()


def test_every_command_and_block_is_run() -> None:
    assert [shlex.split(line)[1] for line in COMMANDS] == [
        f'tools/{name}.py' for name in (
            'predict', 'visualize', 'test', 'report', 'get_flops', 'train',
            'test', 'train')]
    assert len(blocks(PAGE)) == 2
