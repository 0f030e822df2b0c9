"""docs/predict.md: its commands and Python blocks are run."""

import json
import os
import re
import shlex
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config

from tests.conftest import ROOT
from tests.documents import blocks, call, lines, read
from tests.small_models import write_model
from tests.toy_videos import write_video

PAGE = 'docs/predict.md'
TEXT = read(PAGE)
BLOCKS = [block for _, block in blocks(PAGE)]
COMMANDS = lines(PAGE)
CONFIG = 'configs/mote/vitb_zeroshot_ucf101.py'


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """A folder as the page has it: a config, its checkpoint, videos."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs' / 'mote').mkdir(parents=True)
    (folder / 'my_videos').mkdir()
    model = write_model('mote', folder / 'configs' / 'mote')
    Path(model.checkpoint).rename(folder / 'CKPT')
    write_video(folder / 'my_videos' / 'walk.mp4', 75)
    write_video(folder / 'my_videos' / 'run.mp4', 20)
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def run(command: str) -> str:
    """Run a line of the page in this process; what it printed."""
    return call(command.replace('CONFIG', CONFIG)).stdout


def test_every_command_of_the_page_is_run() -> None:
    assert len(BLOCKS) == 4
    assert [shlex.split(line)[1] for line in COMMANDS] == [
        *['tools/predict.py'] * 4, 'tools/benchmark.py']


def test_the_blocks_answer(checkout, capsys) -> None:
    names: dict = {}
    exec(BLOCKS[0], names)
    answers = names['answers']
    assert [Path(one.video).name for one in answers] == [
        'run.mp4', 'walk.mp4']
    assert answers[1].labels == names['answer'].labels
    exec(BLOCKS[1], names)
    assert sorted(names['answer'].labels) == ['brewing tea', 'walking']
    exec(BLOCKS[2], names)
    exec(BLOCKS[3], names)
    assert names['first'].shape == names['last'].shape
    assert names['timeline'].scores.shape == (2, 101)
    assert '[0. 1.] (2, 101)' in capsys.readouterr().out


def test_a_folder_and_a_video_are_predicted(checkout) -> None:
    run(COMMANDS[0])
    told = json.loads(Path('result.json').read_text())['predictions']
    assert len(told) == 2
    assert cv2.imread('sheet.png') is not None
    printed = run(COMMANDS[1])
    assert 'walking' in printed and 'brewing tea' in printed
    assert cv2.VideoCapture('walk.mp4').get(cv2.CAP_PROP_FRAME_COUNT) == 75


def test_windows_and_another_decoder(checkout) -> None:
    run(COMMANDS[2])
    told, = json.loads(Path('time.json').read_text())['predictions']
    assert [one['start'] for one in told['windows']] == [0, 1]
    assert cv2.imread('time.png') is not None
    pipeline = Config.fromfile(CONFIG).test_dataloader.dataset.pipeline
    assert [pipeline[place].type for place in (0, 2)] == [
        'VideoInit', 'VideoDecode']
    plain = run(COMMANDS[3].partition(' --cfg-options')[0])
    assert run(COMMANDS[3]).splitlines()[-1] == plain.splitlines()[-1]


def test_the_data_are_measured(checkout) -> None:
    assert 'limits' in run(COMMANDS[4])
    assert json.loads(Path('speed.json').read_text())['split'] == 'test'


def test_what_the_page_names_exists() -> None:
    for link in re.findall(r'\]\(([\w/.]+)\)', TEXT):
        assert (ROOT / 'docs' / link).exists(), link
    assert (ROOT / CONFIG).exists()
