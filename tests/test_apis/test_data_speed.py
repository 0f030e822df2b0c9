"""Reading against the model: which of them limits a config."""

import json
import time
from pathlib import Path

import pytest
from mmaction.datasets.transforms import FormatShape
from mmengine.config import Config

from mmvidadapt.apis.data_speed import DataSpeed, measure_data
from mmvidadapt.models.backbones import CLIPViT
from tests.scripts import plain_tool, video_config, write_videos


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> str:
    """A tiny config that reads six video files."""
    folder = tmp_path_factory.mktemp('data')
    return video_config('inti/vitb_k400.py', folder,
                        write_videos(folder), folder)


@pytest.mark.parametrize('data, model, limit, verdict', [
    (4, 10, 'data', 'The data limits, mostly by decoding (80% of its time is '
     'decoding): the data gives 4.00 samples/s with 2 workers, the model '
     'takes 10.00; about 5 workers on as many cores would keep up.'),
    (10, 4, 'model', 'The model limits: the data gives 10.00 samples/s with '
     '2 workers, the model takes 4.00.'),
    (10, 10.5, 'both', 'Neither limits: ')])
def test_the_slower_one_limits(data, model, limit, verdict):
    found = DataSpeed('train', 'cpu', 2, 8, data, model, dict(
        DecordInit=.01, SampleFrames=.01, DecordDecode=.07, Resize=.01))
    assert found.limit == limit
    assert found.decoding == pytest.approx(.8)
    assert found.verdict().startswith(verdict)
    assert json.loads(json.dumps(found.as_dict()))['limit'] == limit
    assert 'DecordDecode         70.0' in str(found)


def slow(cls: type, name: str, seconds: float,
         patch: pytest.MonkeyPatch) -> None:
    """Let a method of a class take longer."""
    plain = getattr(cls, name)

    def method(self, *args, **kwargs):
        time.sleep(seconds)
        return plain(self, *args, **kwargs)

    patch.setattr(cls, name, method)


def test_a_slow_transform_is_seen(config, monkeypatch):
    slow(FormatShape, 'transform', .5, monkeypatch)
    found = measure_data(Config.fromfile(config), samples=2, steps=2,
                         device='cpu')
    assert found.limit == 'data'
    assert found.decoding < .5
    assert 'mostly by transforms after decoding' in found.verdict()
    assert .5 < found.seconds['FormatShape'] < .6
    assert found.data < 2
    assert (found.split, found.batch_size, found.workers) == ('train', 2, 0)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_slow_model_is_seen(split, config, monkeypatch):
    slow(CLIPViT, 'forward', 2., monkeypatch)
    found = measure_data(Config.fromfile(config), split, samples=2, steps=1,
                         device='cpu')
    assert found.limit == 'model'
    assert found.model <= found.batch_size / 2


def test_the_tool_measures_a_folder_and_writes(config, tmp_path):
    videos = Path(config).parent
    cfg = Config.fromfile(config)
    cfg.train_dataloader.dataset.ann_file = 'gone.txt'
    cfg.dump(tmp_path / 'config.py')
    done = plain_tool(
        'benchmark.py', '--data', tmp_path / 'config.py', '--videos', videos,
        '--samples', 2, '--repeats', 2, '--device', 'cpu', '--out',
        tmp_path / 'speed')
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / 'speed.json').read_text())
    assert written['verdict'] in done.stdout
    assert set(written['seconds']) >= {'VideoInit', 'VideoDecode'}
    assert written['data'] > 0 and written['model'] > 0


@pytest.mark.parametrize('args, message', [
    (['--data', 'CONFIG', '--split', 'test', '--videos', 'gone'],
     'gone is no folder with videos'),
    (['--data', 'CONFIG', '--samples', 0], 'samples=0 is too small'),
    (['--data', 'CONFIG', '--suite', 'inti'], 'one config and no suite'),
    (['--data', 'configs/tds_clip/vitb_ssv1.py', '--videos', 'tests'],
     'reads folders of frames, not video files'),
    (['--samples', 4], '--samples is about reading: add --data CONFIG'),
    (['--split', 'val'], '--split is about reading'),
    (['--data', 'configs/mote/vitb_zeroshot_ucf101.py'],
     'the config has no train_dataloader: give a split')])
def test_wrong_options_are_one_sentence(args, message, config):
    args = [config if one == 'CONFIG' else one for one in args]
    assert message in plain_tool('benchmark.py', *args).error
