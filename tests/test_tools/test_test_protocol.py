"""``tools/test_protocol.py``: every split, and the averages of the papers."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.fileio import load as load_pickle
from mmengine.registry import DefaultScope

from mmvidadapt.models.clip import CLIPTextEncoder
from tests.scripts import Finished, tool, write_list
from tests.tiny import write_tiny_config
from tests.tiny_text import text
from tests.toy_videos import write_video

VIDEOS = 4
#: Of the four videos, those that a split's list gives the label that the
#: model predicts. The others have the label that it thinks least likely.
RIGHT = dict(ucf={1: 4, 2: 2, 3: 1}, hmdb={1: 3, 2: 3, 3: 3})
UCF = [100., 50., 25.]
UCF_MEAN = 175 / 3
#: Squares of 41.67, 8.33 and 33.33, their mean, its root.
UCF_STD = ((125 / 3) ** 2 / 3 + (25 / 3) ** 2 / 3 + (100 / 3) ** 2 / 3) ** 0.5
HM_ZS = 2 / (1 / UCF_MEAN + 1 / 75)


class Place:
    """A folder with videos, a checkpoint, configs and their lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / 'work'
        for number in range(VIDEOS):
            write_video(folder / f'{number}.mp4', 16 + 8 * number)
        everything = write_list(
            folder, [f'{n}.mp4 0' for n in range(VIDEOS)])
        self.base = write_tiny_config(
            'mote/vitb_zeroshot_hmdb51.py', folder,
            test_dataloader__dataset__ann_file=str(everything),
            test_dataloader__dataset__data_prefix__video=str(folder),
            # Of weights in a file, so that texts are cached.
            model__cls_head__text={**text(folder), '_delete_': True})
        self.checkpoint = self.save_model('model.pth', 0)
        done = tool('test.py', self.base, str(self.checkpoint), '--work-dir',
                    str(self.work), '--dump', str(folder / 'scores.pkl'))
        assert done.returncode == 0, done.stderr[-3000:]
        scores = torch.stack([video['pred_score'] for video in load_pickle(
            folder / 'scores.pkl')])
        self.best, self.worst = scores.argmax(1), scores.argmin(1)
        for name, splits in RIGHT.items():
            for split, right in splits.items():
                self.write_labels(f'{name}_{split}.txt', right)
            self.write_config(name, f'{name}_{{{{$SPLIT:1}}}}.txt')

    def save_model(self, name: str, seed: int) -> Path:
        """A model of random weights."""
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope('mmaction'):
            model = MODELS.build(Config.fromfile(self.base).model)
        torch.save(dict(state_dict=model.state_dict()), self.folder / name)
        return self.folder / name

    def write_labels(self, name: str, right: int) -> None:
        """A list of which so many videos are classified rightly."""
        labels = torch.where(
            torch.arange(VIDEOS) < right, self.best, self.worst)
        write_list(self.folder, [f'{n}.mp4 {label}' for n, label in
                                 enumerate(labels.tolist())], name)

    def write_config(self, name: str, ann_file: str) -> Path:
        path = self.folder / f'{name}.py'
        path.write_text(
            f'_base_ = {Path(self.base).name!r}\n'
            'test_dataloader = dict(dataset=dict('
            f"ann_file='{self.folder}/{ann_file}'))\n")
        return path

    def config(self, name: str) -> str:
        return str(self.folder / f'{name}.py')

    def run(self, *args: object, work: str = 'work') -> Finished:
        """Call the tool."""
        protocol, *more = map(str, args)
        return tool('test_protocol.py', protocol, '--work-dir',
                    str(self.folder / work), *more)

    def saved(self, protocol: str, work: str = 'work') -> dict[str, Any]:
        path = self.folder / work / f'{protocol}.json'
        return json.loads(path.read_text())


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp('data'))


def rows(done: Finished) -> dict[str, str]:
    """The printed table by its first column."""
    assert done.returncode == 0, done.stderr[-3000:]
    last = done.stdout.split('\n\n')[-2]
    return {row[0]: row[1] for row in (
        re.split(r' {2,}', line, maxsplit=1) for line in last.splitlines())}


# Zero shot ------------------------------------------------------------------


def test_splits_are_averaged_and_data_sets_by_their_harmonic_mean(
        place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    forward = CLIPTextEncoder.forward
    monkeypatch.setattr(CLIPTextEncoder, 'forward', lambda *args: (
        encoded.append(1), forward(*args))[1])
    monkeypatch.setenv('SPLIT', '7')
    done = place.run('zero-shot', place.checkpoint, '--configs',
                     place.config('ucf'), place.config('hmdb'),
                     '--closed-set', 81.8)
    printed = rows(done)
    top1, top5, _, splits = re.split(r' {2,}', printed['percent'])
    assert (top1, top5, splits) == ('top1', 'top5', 'top1 of each split')
    top1, top5, _, splits = re.split(r' {2,}', printed['ucf'])
    assert top1 == top5 == '58.33 +- 31.18'
    assert splits == '100.00 50.00 25.00'
    top1, top5, _, splits = re.split(r' {2,}', printed['hmdb'])
    assert top1 == top5 == '75.00 +- 0.00'
    assert splits == '75.00 75.00 75.00'
    assert printed['HM_ZS'] == '65.62' == f'{HM_ZS:.2f}'
    trade_off = 2 / (1 / HM_ZS + 1 / 81.8)
    assert printed['trade-off'] == f'{trade_off:.2f}'
    saved = place.saved('zero-shot')
    ucf = saved['data_sets']['ucf']
    assert [split['top1'] for split in ucf['splits'].values()] == (
        pytest.approx(UCF))
    assert list(ucf['splits']) == ['1', '2', '3']
    assert ucf['mean']['top1'] == pytest.approx(UCF_MEAN)
    assert ucf['std']['top1'] == pytest.approx(UCF_STD)
    assert saved['hm_zs'] == pytest.approx(HM_ZS)
    assert saved['trade_off'] == pytest.approx(trade_off)
    assert (saved['closed_set'], saved['unit'], saved['protocol']) == (
        81.8, 'percent', 'zero-shot')
    # The classes were encoded by the run of the fixture, and never since.
    assert not encoded
    assert os.environ['SPLIT'] == '7'
    assert done.stdout.count('] ucf_split2: ') == 2  # what runs, what came out


def test_a_closed_set_is_tested_as_well(place: Place) -> None:
    place.write_labels('closed.txt', 2)
    closed = place.write_config('closed', 'closed.txt')
    done = place.run('zero-shot', place.checkpoint, '--configs',
                     place.config('ucf'), '--splits', 2, 3, '--closed-set',
                     closed, work='closed')
    printed = rows(done)
    assert 'HM_ZS' not in printed  # of one data set
    assert printed['closed set'] == '50.00'
    assert printed['trade-off'] == '42.86'  # of 37.5 and 50
    assert [*place.saved('zero-shot', 'closed')['data_sets']['ucf'][
        'splits']] == ['2', '3']


def test_what_is_finished_is_kept_when_a_later_test_fails(
        place: Place) -> None:
    third = place.folder / 'lost_3.txt'
    for split, right in ((1, 4), (2, 0)):
        place.write_labels(f'lost_{split}.txt', right)
    config = place.write_config('lost', 'lost_{{$SPLIT:1}}.txt')
    call = ('zero-shot', place.checkpoint, '--configs', config)
    failed = place.run(*call, work='lost')
    assert 'lost_3.txt does not exist' in failed.error
    assert not (place.folder / 'lost' / 'zero-shot.json').exists()

    def tested(*options: str) -> list[str]:
        done = place.run(*call, *options, work='lost')
        assert done.returncode == 0, done.stderr[-3000:]
        for name in set(re.findall(r'\] (lost_split\d): .*, taken from .*json'
                                   '; --fresh tests it again', done.stdout)):
            assert f'{name}: testing' not in done.stdout
        return re.findall(r'\] lost_split(\d): testing', done.stdout)

    place.write_labels('lost_3.txt', 4)
    assert tested() == ['3']
    expected = place.saved('zero-shot', 'lost')
    assert expected['data_sets']['lost']['mean']['top1'] == (
        pytest.approx(200 / 3))
    assert tested() == []
    assert place.saved('zero-shot', 'lost') == expected
    # A list that changed, a result that was spoiled, another option.
    os.utime(third, ns=(1, 1))
    assert tested() == ['3']
    result = next((place.folder / 'lost' / 'lost_split2').glob('result_*'))
    result.write_text(result.read_text()[:20])
    assert tested() == ['2']
    assert tested('--splits', '3', '--cfg-options',
                  'model.cls_head.modulate=False') == ['3']
    assert tested('--splits', '3', '--fresh') == ['3']
    assert tested() == []
    assert place.saved('zero-shot', 'lost') == expected


def test_another_checkpoint_is_another_test(place: Place) -> None:
    call = ('zero-shot', place.save_model('other.pth', 5), '--configs',
            place.config('ucf'), '--splits', 1)
    assert 'ucf_split1: testing' in place.run(*call, work='other').stdout
    assert 'taken from' in place.run(*call, work='other').stdout
    place.save_model('other.pth', 6)
    assert 'ucf_split1: testing' in place.run(*call, work='other').stdout


def test_a_config_without_splits_is_tested_once(place: Place) -> None:
    place.write_labels('single.txt', 3)
    config = place.write_config('single', 'single.txt')
    done = place.run('zero-shot', place.checkpoint, '--configs', config,
                     work='single')
    assert done.stdout.count(
        f'left out, {config} does not read SPLIT') == 2
    top1, top5, *_, splits = rows(done)['single'].split()
    assert top1 == top5 == splits == '75.00'


def test_half_classes_have_columns_of_their_own(place: Place) -> None:
    done = place.run(
        'zero-shot', place.checkpoint, '--configs', place.config('ucf'),
        '--splits', 1, '--synthetic', 51, '--cfg-options',
        'test_evaluator.type=HalfClassMetric', work='half')
    names = ['top1', 'top5', 'half_top1_mean', 'half_top5_mean']
    assert rows(done)['percent'].split()[:4] == names
    saved = place.saved('zero-shot', 'half')['data_sets']['ucf']
    assert [*saved['mean']] == names
    # Of the halves of one split, not of splits.
    assert saved['splits']['1']['half_top1_std'] > 0


# Base to novel --------------------------------------------------------------


def test_seeds_are_averaged_before_the_harmonic_mean(place: Place) -> None:
    first, second = (place.save_model(f'seed{seed}.pth', 0)
                     for seed in (1, 2))
    for half, right in (('base', 4), ('novel', 2)):
        place.write_labels(f'a_{half}.txt', right)
        place.write_labels(f'b_{half}.txt', right - 1)
    # The same model for each seed: the lists make the difference.
    for seed, right in ((1, 4), (2, 1)):
        place.write_labels(f'c_base_{seed}.txt', 4)
        place.write_labels(f'c_novel_{seed}.txt', right)
    a = place.write_config('a', 'a_{{$HALF:base}}.txt')
    c = place.write_config('c', 'c_{{$HALF:base}}_{{$SEED:1}}.txt')
    done = place.run('base-novel', '--data', a, first, '--data', c, first,
                     second, work='novel')
    printed = {name: re.split(r' {2,}', row)
               for name, row in rows(done).items()}
    assert printed['a'] == ['100.00', '50.00', '66.67', '100.00 50.00']
    assert printed['c'] == ['100.00 +- 0.00', '62.50 +- 37.50', '76.92',
                            '100.00 100.00; 100.00 25.00']
    # 56.25 is the mean of both novel accuracies, 71.8 that of both HM.
    assert printed['mean'] == ['100.00', '56.25', '72.00']
    saved = place.saved('base-novel', 'novel')
    assert saved['mean']['harmonic_mean'] == pytest.approx(72)
    assert saved['data_sets']['c']['std'] == pytest.approx(
        dict(base=0, novel=37.5))
    assert saved['data_sets']['c']['seeds']['2'] == dict(
        checkpoint=str(second), base=pytest.approx(100),
        novel=pytest.approx(25))


# Bad input ------------------------------------------------------------------


@pytest.mark.parametrize('args, message', [
    (('zero-shot', 'x.pth', '--configs', 'no.py'),
     "config 'no.py' does not exist: give the path"),
    (('zero-shot', 'x.pth', '--configs', '{ucf}', '{ucf}'),
     'two configs are named ucf: give each config once, and files of differ'),
    (('zero-shot', 'x.pth', '--configs', '{ucf}', '--closed-set', '{ucf}'),
     'two configs are named ucf: give'),
    (('zero-shot', 'x.pth', '--configs', '{ucf}', '--closed-set', '0.818'),
     '--closed-set 0.818 is no accuracy in percent: give such as 81.8'),
    (('zero-shot', 'x.pth', '--configs', '{ucf}'), 'x.pth can not be found'),
    (('base-novel', '--data', '{ucf}'), '{ucf} has 0 different checkpoints '
     'for 0 seeds: give a checkpoint for each seed'),
    (('base-novel', '--data', '{ucf}', 'x.pth', 'x.pth'),
     '{ucf} has 1 different checkpoints for 2 seeds: give a checkpoint'),
    (('base-novel', '--data', '{ucf}', 'x.pth', '--seeds', '1', '2'),
     '{ucf} has 1 different checkpoints for 2 seeds: give'),
    (('base-novel', '--data', '{ucf}', 'x.pth', '--data', '{ucf}', 'x.pth'),
     'two configs are named ucf: give'),
    (('base-novel', '--data', '{ucf}', 'x.pth'),
     'ucf_novel_seed1 is the same test as ucf_base_seed1: give a config that '
     'reads HALF from the environment'),
])
def test_bad_options_are_one_sentence(place: Place, args: tuple,
                                      message: str) -> None:
    ucf = place.config('ucf')
    done = place.run(*(arg.format(ucf=ucf) for arg in args), work='bad')
    assert done.error.startswith(message.format(ucf=ucf))
    assert not [*place.folder.glob('bad/*/result*')]


def test_a_config_without_accuracy_is_one_sentence(place: Place) -> None:
    path = place.write_config('silent', 'list.txt')
    path.write_text(path.read_text() + "test_evaluator = dict(_delete_=True, "
                    "type='DumpResults', out_file_path="
                    f"'{place.folder}/out.pkl')\n")
    done = place.run('zero-shot', place.checkpoint, '--configs', path,
                     work='silent')
    assert done.error == (
        f'{path} reports nothing and no acc/top1: give test_evaluator an '
        'AccMetric or a HalfClassMetric')


def test_the_folder_is_named_by_the_checkpoint(
        place: Place, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = tool('test_protocol.py', 'zero-shot', str(place.checkpoint),
                '--configs', place.config('ucf'), '--splits', '1')
    folder = f'work_dirs/zero-shot_{place.folder.name}_model'
    assert done.stdout.endswith(f'wrote {folder}/zero-shot.json\n')
    assert Path(folder, 'ucf_split1').is_dir()
