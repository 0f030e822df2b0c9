"""docs/data.md, command by command, on small stand-ins for the data sets."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvidadapt.apis.cli import environment
from mmvidadapt.datasets import VideoReader
from mmvidadapt.datasets.class_lists import class_names
from tests import documents, toy_data_sets
from tests.conftest import ROOT
from tests.scripts import Finished, plain_tool, tool, working_in
from tests.tiny import files, splits, write_tiny_config
from tests.toy_videos import write_video

TEXT = documents.read('docs/data.md')
COMMANDS = documents.lines('docs/data.md')
#: The shell commands of each section.
SECTIONS = {
    title: [line for line in COMMANDS if re.search(
        rf'^ *{re.escape(line)}( +#.*)?$', text, re.M)]
    for title, text in re.findall(r'^## (.*?)\n(.*?)(?=^## |\Z)', TEXT,
                                  re.DOTALL | re.M)}
#: The sections of data sets, and their folders below data/.
DATA_SETS = {
    'Kinetics-400': 'kinetics400', 'Kinetics-600': 'kinetics600',
    'Something-Something V2': 'sthv2', 'Something-Something V1': 'sthv1',
    'UCF-101': 'ucf101', 'HMDB-51': 'hmdb51'}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def tiny(name: str) -> None:
    """Write a config where the command looks for it: tiny, on two videos.

    Lists and folders stay as they are.
    """
    path = Path('configs', name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tiny_config(name, path.parent)
    cfg = Config.fromfile(path)
    full = Config.fromfile(ROOT / path)
    for split in splits(cfg):
        ours, theirs = (files(one[f'{split}_dataloader'])
                        for one in (cfg, full))
        assert (ours.ann_file, ours.data_prefix) == (
            theirs.ann_file, theirs.data_prefix)
        ours.indices = 2
        if 'times' in cfg[f'{split}_dataloader'].dataset:
            cfg[f'{split}_dataloader'].dataset.times = 1
    cfg.dump(path)


def run(command: str) -> Finished:
    """Run a command of the document."""
    words = shlex.split(command)
    chosen = {}
    while '=' in words[0]:
        name, chosen[name] = words.pop(0).split('=', 1)
    assert words.pop(0) == 'python'
    script = words.pop(0).removeprefix('tools/')
    with environment(chosen):
        for name in re.findall(r'configs/(\S+\.py)', command):
            tiny(name)
            if 'CHECKPOINT' in words:
                with DefaultScope.overwrite_default_scope('mmaction'):
                    model = MODELS.build(Config.fromfile(
                        Path('configs', name)).model)
                torch.save(dict(state_dict=model.state_dict()), 'CHECKPOINT')
        start = tool if script in ('train.py', 'test.py') else plain_tool
        done = start(script, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def prepared(title: str, folder: Path) -> toy_data_sets.Lists:
    """Publish a data set, small, and run what the document says for it."""
    name = DATA_SETS[title]
    with working_in(folder):
        lists = getattr(toy_data_sets, name)(Path('data', name))
        for command in SECTIONS[title]:
            done = run(command)
            if 'train.py' in command:
                config = Path(shlex.split(command)[2]).stem
                assert list(Path('work_dirs', config).glob('epoch_1.pth'))
            elif 'test.py' in command:
                assert 'acc/top1' in str(done)
    return lists


@pytest.mark.parametrize('title', DATA_SETS)
def test_a_section_leads_from_the_download_to_a_run(title, tmp_path):
    lists = prepared(title, tmp_path)
    root = tmp_path / 'data' / DATA_SETS[title]
    assert {path.name: lines(path)
            for path in root.glob('*.txt')} == lists
    # Whatever list of this data set a config of ours reads is there.
    assert read_by_configs(DATA_SETS[title]) <= {
        path.relative_to(tmp_path).as_posix() for path in root.rglob('*.txt')}
    # Base and novel videos keep their class, by name.
    for half in ('base', 'novel') if (root / 'base_novel').exists() else ():
        full = class_names(DATA_SETS[title].replace('kinetics', 'k'))
        part = class_names(str(root / 'base_novel' / f'{half}_classes.txt'))
        labels = {path: int(label) for content in lists.values()
                  for path, _, label in (line.rpartition(' ')
                                         for line in content)}
        for path in root.glob(f'base_novel/{half}_[st]*.txt'):
            for line in lines(path):
                video, _, label = line.rpartition(' ')
                assert part[int(label)] == full[labels[video]]


def read_by_configs(name: str) -> set[str]:
    """Every list of a data set that stands in a config."""
    found = set()
    for path in ROOT.glob('configs/**/*.py'):
        text = re.sub(r"'\s+f?'", '', path.read_text())
        for file in re.findall(rf"'(data/{name}/\S+?\.txt)'", text):
            for split in ('1', '2', '3'):
                for half in ('base', 'novel'):
                    for old, new in (
                            ('{{$SPLIT:1}}', split), ('{{$HALF:base}}', half),
                            ('{{$SHOTS:16}}', '16'), ('{shots}', '16'),
                            ('{{$SEED:1}}', split)):
                        file = file.replace(old, new)
                    if 'novel_shots' not in file:  # nobody trains on these
                        found.add(file)
    assert found
    return found


def test_what_to_do_before_hours_of_training(tmp_path):
    synthetic, check, read = SECTIONS['Before hours of training']
    with working_in(tmp_path):
        assert not Path('data').exists()
        run(synthetic)
        assert Path('work_dirs/vitb_k400/epoch_1.pth').is_file()
        lists = toy_data_sets.hmdb51(Path('data/hmdb51'), shots=2)
        for command in SECTIONS['HMDB-51']:
            if 'official_lists' in command:
                run(command)
            elif 'few-shot' in command:
                run(f'{command} --shots 2')
        shutil.move('data/hmdb51/few_shot/shots2_seed1.txt',
                    'data/hmdb51/few_shot/shots16_seed1.txt')
        bad = Path('data/hmdb51/videos/wave/'
                   'a_film_wave_u_nm_np1_ba_goo_1.avi')
        bad.unlink()
        bad.write_text('x')
        assert f'Left out: {bad}' in run(check).stdout
        name = 'hmdb51_train_split_2_videos.txt'
        left = lines(Path('data/hmdb51', name))
        assert [line for line in lists[name] if line not in left] == [
            f'wave/{bad.name} {class_names("hmdb51").index("wave")}']
        done = run(read)
        assert Path('benchmark.json').is_file(), done.stdout


def test_videos_are_made_smaller(tmp_path):
    configs = ''.join(path.read_text()
                      for path in ROOT.glob('configs/**/*.py'))
    done = set()
    with working_in(tmp_path):
        for command in SECTIONS['Smaller videos']:
            source, target = map(Path, shlex.split(command)[2:])
            (source / 'air drumming (x)').mkdir(parents=True)
            write_video(source / 'wide.mp4', 5, (720, 480))
            write_video(source / 'air drumming (x)' / 'tall.avi', 5,
                        (360, 640))
            assert '2 of 2 videos are in' in run(command).stdout
            assert 'Nothing to do' in run(command).stdout
            sizes = {path.relative_to(target).as_posix(): (
                reader.total_frames, reader.read([4])[0].shape)
                for path in target.rglob('*.mp4')
                for reader in [VideoReader(path)]}
            assert sizes == {'wide.mp4': (5, (256, 384, 3)),
                             'air drumming (x)/tall.mp4': (5, (456, 256, 3))}
            assert f"'{target}'" in configs or f"'{target}/'" in configs
            done.add(target.parent.name)
    # Something-Something V1 is published as pictures.
    assert done == {*DATA_SETS.values()} - {'sthv1'}


def test_the_structure_that_was_chosen_is_the_one_of_the_tool():
    chosen = re.findall(r'\*\*(\d+)\*\*', TEXT)
    tool = runpy.run_path(str(ROOT / 'tools' / 'data' / 'shrink_videos.py'))
    assert [*map(int, chosen)] == [tool['KEY_EVERY'], tool['B_FRAMES']]


def test_the_document_has_no_other_commands():
    assert set(DATA_SETS) < set(SECTIONS)
    ran = [command for title in (*DATA_SETS, 'Smaller videos',
                                 'Before hours of training')
           for command in SECTIONS[title]]
    assert [command for command in COMMANDS if command not in ran
            and not command.endswith(' DATASET')] == []
    names = set(re.findall(r'\| `(\w+)` \| \d+', TEXT))
    assert names == set(DATA_SETS.values())
