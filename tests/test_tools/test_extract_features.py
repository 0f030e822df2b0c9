"""Features of a folder of videos, resumable, with broken videos named."""

import numpy as np
import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config
from tiny import SIZE, write_tiny_config
from toy_videos import cut, write_video

from tests.scripts import Finished, plain_tool


def extract_features(*args: object) -> Finished:
    """Run the script, which need not import everything again."""
    return plain_tool('data/extract_features.py', *args)


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> dict:
    """A tiny model, its checkpoint, four videos, and the first run."""
    folder = tmp_path_factory.mktemp('features')
    config = folder / 'config.py'
    cfg = Config.fromfile(write_tiny_config('inti/vitb_k400.py', folder))
    for step in cfg.test_pipeline:
        if step['type'] == 'Resize':
            step['scale'] = (-1, SIZE)  # ThreeCrop wants the crop's height
    cfg.dump(config)
    torch.manual_seed(0)
    model = init_recognizer(str(config), device='cpu')
    checkpoint = folder / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    videos = folder / 'my videos'
    (videos / 'walk').mkdir(parents=True)
    write_video(videos / 'walk' / 'one.mp4')
    write_video(videos / 'walk' / 'one.avi')
    write_video(videos / 'two.mp4')
    cut(videos / 'two.mp4', videos / 'half.mp4', 0.5)
    (videos / 'notes.txt').write_text('not a video')
    out = folder / 'out'
    done = extract_features(config, checkpoint, videos, out)
    return dict(config=config, checkpoint=checkpoint, videos=videos, out=out,
                done=done, model=model)


def test_every_sound_video_has_frame_and_clip_features(run):
    files = sorted(str(path.relative_to(run['out']))
                   for path in run['out'].rglob('*') if path.is_file())
    assert files == ['two.mp4.npz', 'walk/one.avi.npz', 'walk/one.mp4.npz']
    for name in files:
        archive = np.load(run['out'] / name)
        # 4 clips x 3 crops; 16 frames halved twice; tiny width.
        assert archive['frames'].shape == (12, 4, 48)
        assert archive['frames'].dtype == np.float32
        assert np.allclose(archive['clip'],
                           archive['frames'].mean(axis=(0, 1)), atol=1e-6)
    assert '3 of 4 videos written' in run['done'].stdout


def test_the_features_are_those_that_the_head_classifies(run):
    model = run['model']
    video = run['videos'] / 'two.mp4'
    model.cls_head.average_clips = 'score'
    expected = inference_recognizer(model, str(video)).pred_score
    clip = torch.from_numpy(np.load(run['out'] / 'two.mp4.npz')['clip'])
    scores = model.cls_head(clip[None, None])[0]
    assert torch.allclose(scores, expected, atol=1e-5)


def test_a_broken_video_is_named_and_the_others_are_done(run):
    assert run['done'].returncode == 1
    assert 'half.mp4 is truncated: its header announces' in \
        run['done'].stdout
    assert 'Traceback' not in run['done'].stderr


def test_a_second_run_does_only_what_is_missing(run):
    kept = run['out'] / 'two.mp4.npz'
    before = kept.stat().st_mtime_ns
    (run['out'] / 'walk' / 'one.mp4.npz').unlink()
    (run['videos'] / 'half.mp4').unlink()
    done = extract_features(run['config'], run['checkpoint'], run['videos'],
                            run['out'])
    assert done.returncode == 0, done.stderr
    assert '1 of 1 videos written' in done.stdout
    assert (run['out'] / 'walk' / 'one.mp4.npz').exists()
    assert kept.stat().st_mtime_ns == before
    again = extract_features(run['config'], run['checkpoint'], run['videos'],
                             run['out'])
    assert 'Nothing to do' in again.stdout


def test_torch_files_hold_the_same(run, tmp_path):
    out = tmp_path / 'out'
    done = extract_features(
        run['config'], run['checkpoint'], run['videos'] / 'walk', out,
        '--format', 'pt', '--views', 12)
    assert done.returncode == 0, done.stderr
    features = torch.load(out / 'one.avi.pt', weights_only=True)
    archive = np.load(run['out'] / 'walk' / 'one.avi.npz')
    assert np.allclose(features['frames'], archive['frames'], atol=1e-5)


@pytest.mark.parametrize('place, value, message', [
    (0, 'none.py', "config 'none.py' does not exist"),
    (1, 'none.pth', "checkpoint 'none.pth' does not exist"),
    (2, 'none', 'none is not a folder: give a folder of videos'),
    (2, 'configs', 'configs holds no videos'),
    (None, ('--views', 0), '--views is 0: give at least 1'),
])
def test_faulty_arguments_are_one_sentence_with_the_remedy(
        place, value, message, run, tmp_path):
    args = [run['config'], run['checkpoint'], run['videos'], tmp_path / 'o']
    if place is None:
        args += value
    else:
        args[place] = value
    done = extract_features(*args)
    assert done.returncode == 1
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_another_models_checkpoint_is_refused(run, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(1))), path)
    done = extract_features(run['config'], path, run['videos'],
                            tmp_path / 'out')
    assert done.returncode == 1
    assert 'error: ' in done.stderr
    assert 'backbone.encoder.conv1.weight' in done.stderr
    assert not (tmp_path / 'out').exists()


def test_a_config_without_a_test_pipeline_is_refused(run, tmp_path):
    cfg = Config.fromfile(run['config'])
    path = tmp_path / 'config.py'
    Config(dict(model=cfg.model.to_dict())).dump(path)
    done = extract_features(path, run['checkpoint'], run['videos'],
                            tmp_path / 'out')
    assert done.returncode == 1
    assert ('and no test_pipeline: give a config that tools/test.py runs'
            in done.stderr)


def test_views_are_those_of_the_test_data(run, tmp_path):
    cfg = Config.fromfile(run['config'])
    sampler = cfg.test_dataloader.dataset.pipeline[1]
    assert sampler.num_clips == cfg.test_pipeline[1].num_clips == 4
    sampler.num_clips = 1  # what --cfg-options or a config of one's own does
    cfg.test_pipeline[1].num_clips = 4
    cfg.dump(tmp_path / 'config.py')
    done = extract_features(tmp_path / 'config.py', run['checkpoint'],
                            run['videos'] / 'walk', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    archive = np.load(tmp_path / 'out' / 'one.mp4.npz')
    assert archive['frames'].shape == (3, 4, 48)


def test_a_config_for_frames_reads_videos(run, tmp_path):
    cfg = Config.fromfile(run['config'])
    steps = cfg.test_dataloader.dataset.pipeline
    steps[2].type = 'RawFrameDecode'
    del steps[0]
    cfg.dump(tmp_path / 'config.py')
    done = extract_features(tmp_path / 'config.py', run['checkpoint'],
                            run['videos'] / 'walk', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    expected = np.load(run['out'] / 'walk' / 'one.mp4.npz')
    found = np.load(tmp_path / 'out' / 'one.mp4.npz')
    assert np.array_equal(found['frames'], expected['frames'])
