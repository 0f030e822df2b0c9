"""docs/visualize.md, command by command, on real video files."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvidadapt.visualization import PICTURES
from tests.conftest import ROOT
from tests.documents import call, lines, read
from tests.scripts import plain_tool, video_config, working_in, write_videos
from tests.tiny import write_tiny_config

TEXT = read('docs/visualize.md')
COMMANDS = lines('docs/visualize.md')


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configs, videos and a run, in the current folder."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('inti/vitb_k400.py', 'tds_clip/vitb_k400.py',
                 'mote/vitb_k400.py'):
        (folder / 'configs' / name).parent.mkdir(parents=True)
        write_tiny_config(name, (folder / 'configs' / name).parent)
    videos = write_videos(folder, 2)
    with working_in(folder):
        config = video_config(
            'inti/vitb_ssv2_naive.py', folder, videos, folder,
            model__cls_head__num_classes=3)
        # By plain_tool, so that the config of the run is written for the page.
        done = plain_tool('train.py', config, '--work-dir', 'work_dirs/run',
                          '--cfg-options', 'experiment_name=visualize_doc')
        assert done.returncode == 0, done.stderr
        yield folder


def test_every_command_is_tested() -> None:
    assert [shlex.split(line)[1:3] for line in COMMANDS] == [
        ['tools/visualize.py', 'inti'], ['tools/visualize.py', 'side'],
        ['tools/visualize.py', 'attention'], ['tools/test.py', 'CONFIG'],
        ['tools/report.py', 'work_dirs/run']]


@pytest.mark.parametrize('place', range(3))
def test_pictures_of_a_video_are_written(checkout: Path, place: int) -> None:
    command = shlex.split(COMMANDS[place])
    init_default_scope('mmaction')
    model = MODELS.build(Config.fromfile(command[3]).model)
    torch.save(dict(state_dict=model.state_dict()), 'some.pth')
    call(COMMANDS[place].replace('CHECKPOINT', 'some.pth').replace(
        'VIDEO', '1.mp4'))
    out = Path(command[command.index('--out') + 1])
    assert {path.name for path in out.iterdir()} == {
        f'{command[2]}.png', f'{command[2]}.json'}


def test_the_report_is_written(checkout: Path) -> None:
    config, = Path('work_dirs/run').glob('*.py')
    newest = Path('work_dirs/run/last_checkpoint').read_text()
    _, script, *args = shlex.split(COMMANDS[3].replace(
        'CONFIG', str(config)).replace('CHECKPOINT', newest))
    done = plain_tool(script.removeprefix('tools/'), *args, '--cfg-options',
                      'experiment_name=visualize_doc_test')
    assert done.returncode == 0, done.stderr
    call(COMMANDS[4])
    page = Path('work_dirs/run/report.html').read_text()
    for part in ('curves', 'accuracy', 'confusion', 'classes', 'clips',
                 'tests', 'configuration', 'environment'):
        assert f'<section id="{part}">' in page


def test_what_the_document_names_exists() -> None:
    table = TEXT[TEXT.index('| picture |'):].split('\n\n')[0]
    assert set(re.findall(r'^\| `(\w+)` ', table, re.MULTILINE)) == set(
        PICTURES)
    for link, anchor in re.findall(r'\]\(([\w.]+)(?:#([\w-]+))?\)', TEXT):
        target = (ROOT / 'docs' / link).read_text()
        assert f'## {anchor.replace("-", " ")}' in target.lower()
    last = ''
    for name in re.findall(r'`((?:mmvidadapt\.apis\.)?[a-z_.]+_\w+)`',
                           TEXT[TEXT.index('In Python'):].split('\n\n')[0]):
        module, _, function = name.rpartition('.')
        last = module or last
        assert callable(getattr(importlib.import_module(last), function))
