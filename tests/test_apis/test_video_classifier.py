"""One video, one line: names and scores, of files, folders and batches."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config

from mmvidadapt.apis import VideoClassifier
from mmvidadapt.datasets import BrokenVideoError
from mmvidadapt.datasets.class_lists import class_names
from mmvidadapt.datasets.synthetic import use_synthetic_data
from mmvidadapt.datasets.video_reader.pictures import Painter
from tests.small_models import METHODS, SmallModel, write_model
from tests.toy_videos import cut, write_video

NEW = ['brewing tea', 'arm wrestling', 'YoYo']


@pytest.fixture(scope='module')
def models(tmp_path_factory) -> Callable[[str], SmallModel]:
    """A tiny model of any method, made when it is first asked for."""
    made: dict[str, SmallModel] = {}

    def get(method: str) -> SmallModel:
        if method not in made:
            made[method] = write_model(
                method, tmp_path_factory.mktemp(method))
        return made[method]

    return get


@pytest.fixture(scope='module')
def classifiers(models) -> Callable[[str], VideoClassifier]:
    """Their classifiers, on the CPU."""
    made: dict[str, VideoClassifier] = {}

    def get(method: str) -> VideoClassifier:
        if method not in made:
            made[method] = VideoClassifier(*models(method), device='cpu')
        return made[method]

    return get


@pytest.fixture(scope='module')
def videos(tmp_path_factory) -> Path:
    """Two sound videos and a broken one, at two depths."""
    folder = tmp_path_factory.mktemp('videos')
    (folder / 'deep').mkdir()
    write_video(folder / 'a.mp4', 20)
    write_video(folder / 'deep' / 'b.avi', 33)
    return folder


def frames_of(video: Path, folder: Path, template: str = 'img_{:05}.png',
              places: range | None = None) -> Path:
    """Write the frames of a video as pictures, numbered from 1."""
    folder.mkdir()
    reader = cv2.VideoCapture(str(video))
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1])
    for number, place in enumerate(places or range(len(frames)), 1):
        cv2.imwrite(str(folder / template.format(number)), frames[place])
    return folder


def same(one, other, tolerance: float = 1e-5) -> None:
    assert one.labels == other.labels
    assert one.scores == pytest.approx(other.scores, abs=tolerance)


# -- the answer ------------------------------------------------------------


@pytest.mark.parametrize('method', ['inti', 'tds_clip', 'mote', 'msta'])
def test_the_answer_is_that_of_mmaction2_sorted_by_score(
        method, models, classifiers, videos):
    config, checkpoint = models(method)
    video = str(videos / 'a.mp4')
    expected = inference_recognizer(
        init_recognizer(config, checkpoint, 'cpu'), video).pred_score
    found = classifiers(method)(video)
    assert found.video == video
    assert found.scores == pytest.approx(expected.topk(5).values.tolist())
    assert found.scores == sorted(found.scores, reverse=True)
    assert found.label == found.labels[0]
    names = classifiers(method).labels
    assert [names.index(label) for label in found.labels] == (
        expected.topk(5).indices.tolist())
    assert len(classifiers(method)(video, topk=2).labels) == 2
    assert json.loads(json.dumps(found.as_dict())) == dict(
        video=video, labels=found.labels, scores=found.scores)


def test_a_folder_or_list_gives_a_list_whatever_the_batch(
        classifiers, videos):
    classifier = classifiers('inti')
    one = classifier(videos / 'a.mp4')
    two = classifier(videos / 'deep' / 'b.avi')
    for found in (classifier(videos), classifier(str(videos), batch_size=2),
                  classifier([videos / 'a.mp4', videos / 'deep' / 'b.avi'],
                             batch_size=5, workers=1)):
        assert [Path(answer.video).name for answer in found] == [
            'a.mp4', 'b.avi']
        same(found[0], one)
        same(found[1], two)
    assert [type(found) for found in classifier([videos / 'a.mp4'])] == [
        type(one)]


def test_bfloat16_computes_nearly_the_same(models, classifiers, videos):
    model = VideoClassifier(*models('inti'), device='cpu', bf16=True)
    half = dict(zip(*list(model(videos / 'a.mp4', topk=400)
                          .as_dict().values())[1:]))
    full = classifiers('inti')(videos / 'a.mp4', topk=400)
    found = [half[label] for label in full.labels]
    assert found != full.scores
    assert found == pytest.approx(full.scores, rel=.3, abs=2e-3)


# -- other classes ---------------------------------------------------------


@pytest.mark.parametrize('method', ['mote', 'msta'])
def test_other_classes_score_as_in_a_config_that_names_them(
        method, models, classifiers, videos):
    config, checkpoint = models(method)
    cfg = Config.fromfile(config)
    cfg.model.cls_head.classes = NEW
    if method == 'mote':
        cfg.model.cls_head.modulation_k = len(NEW)
    video = str(videos / 'a.mp4')
    expected = inference_recognizer(
        init_recognizer(cfg, checkpoint, 'cpu'), video).pred_score
    classifier = classifiers(method)
    own = classifier(video)
    found = classifier(video, classes=NEW)
    assert sorted(found.labels) == sorted(NEW)
    for name, score in zip(found.labels, found.scores, strict=True):
        assert score == pytest.approx(
            expected[NEW.index(name)].item(), abs=1e-5)
    # The order of the names is no matter, and the own classes are back.
    same(classifier(video, classes=NEW[::-1]), found)
    same(classifier(video), own)


def test_classes_that_stay_do_not_build_the_model_anew(
        classifiers, videos, monkeypatch):
    classifier = classifiers('mote')
    assert classifier.choices(NEW) == NEW
    monkeypatch.setattr(classifier, '_build', None)
    assert classifier.choices(NEW) == NEW
    assert classifier.choices('ucf101') == class_names('ucf101')


@pytest.mark.parametrize('method', ['mote', 'msta'])
def test_a_model_for_other_classes_shares_the_weights(method, classifiers):
    classifier = classifiers(method)
    classifier.choices(NEW)
    other = dict(classifier._asked[1].named_parameters())
    own = dict(classifier.model.named_parameters())
    assert own.keys() == other.keys()
    for name, parameter in own.items():
        assert parameter.data_ptr() == other[name].data_ptr(), name


def test_a_model_without_text_refuses_other_classes(classifiers, videos):
    with pytest.raises(ValueError, match='LinearHead, which knows the 400 '
                       'classes of its training only: leave classes out'):
        classifiers('inti')(videos / 'a.mp4', classes=NEW)


def test_text_features_without_a_tower_refuse_other_classes(
        models, videos, tmp_path):
    config, _ = models('mote')
    cfg = Config.fromfile(config)
    cfg.model.cls_head.update(text=None, classes=NEW, modulate=False,
                              features=torch.eye(3, 24).tolist())
    model = init_recognizer(cfg, device='cpu')
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'm.pth')
    classifier = VideoClassifier(cfg, tmp_path / 'm.pth', device='cpu')
    assert sorted(classifier(videos / 'a.mp4').labels) == sorted(NEW)
    with pytest.raises(ValueError, match='without a text tower'):
        classifier(videos / 'a.mp4', classes=['a', 'b'])


@pytest.mark.parametrize('classes, message', [
    ([], 'is empty: give every class a name'),
    (['run', 'jump', 'Run'], "0 and 2 are both named 'Run'"),
    (['run', ''], 'which is no name'),
    ('no_such_list', 'there is no list of classes')])
def test_wrong_classes_are_one_sentence(classes, message, classifiers,
                                        videos):
    with pytest.raises(ValueError, match=message):
        classifiers('mote')(videos / 'a.mp4', classes=classes)


# -- names -----------------------------------------------------------------


def test_a_text_head_names_its_classes_itself(classifiers):
    assert classifiers('mote').labels == class_names('ucf101')


def test_a_linear_head_has_names_by_option_metainfo_file_or_number(
        models, tmp_path):
    config, checkpoint = models('inti')
    cfg = Config.fromfile(config)

    def labels(**options) -> list[str]:
        return VideoClassifier(cfg, checkpoint, device='cpu',
                               **options).labels

    assert labels()[:2] == ['class 0', 'class 1']
    names = [f'action {place}' for place in range(400)]
    (tmp_path / 'labels.txt').write_text('\n'.join(names))
    cfg.test_dataloader.dataset.ann_file = str(tmp_path / 'val.txt')
    assert labels() == names
    cfg.test_dataloader.dataset.metainfo = dict(classes=names[::-1])
    assert labels() == names[::-1]
    assert labels(labels='k400') == class_names('k400')
    with pytest.raises(ValueError, match='there are 51 labels in hmdb51 and '
                       'the model has 400 classes'):
        labels(labels='hmdb51')


# -- frames ----------------------------------------------------------------


def test_a_folder_of_frames_is_one_video(classifiers, videos, tmp_path,
                                         models):
    classifier = classifiers('inti')
    expected = classifier(videos / 'a.mp4')
    frames = frames_of(videos / 'a.mp4', tmp_path / 'frames',
                       'img_{:05}.jpg')
    classifier(frames)
    cfg = Config.fromfile(models('inti').config)
    cfg.test_dataloader.dataset.filename_tmpl = 'img_{:05}.png'
    sharp = VideoClassifier(cfg, models('inti').checkpoint, device='cpu')
    same(sharp(frames_of(videos / 'a.mp4', tmp_path / 'sharp')), expected)
    found = sharp(tmp_path / 'sharp' / '..')  # JPEG frames are not its own
    assert [answer.error is None for answer in found] == [False, True]
    assert 'none is called img_00001.png: set filename_tmpl=' in (
        found[0].error)


def test_a_config_of_frames_reads_frames_and_files(
        classifiers, videos, tmp_path, models):
    cfg = Config.fromfile(models('frames').config)
    cfg.test_dataloader.dataset.filename_tmpl = '{:05}.png'
    classifier = VideoClassifier(cfg, models('frames').checkpoint,
                                 device='cpu')
    frames = frames_of(videos / 'a.mp4', tmp_path / 'frames', '{:05}.png')
    found = classifier(frames)
    sample = init_recognizer(cfg, models('frames').checkpoint, 'cpu')
    expected = inference_recognizer(sample, dict(
        frame_dir=str(frames), filename_tmpl='{:05}.png', total_frames=20,
        start_index=1, modality='RGB', label=-1)).pred_score
    assert found.scores == pytest.approx(expected.topk(5).values.tolist(),
                                         abs=1e-5)
    same(classifier(videos / 'a.mp4'), found)


# -- what goes wrong -------------------------------------------------------


def test_a_broken_video_is_left_out_of_a_list_and_named(
        classifiers, videos, tmp_path, warnings):
    broken = cut(videos / 'a.mp4', tmp_path / 'half.mp4', .5)
    found = classifiers('inti')([videos / 'a.mp4', broken,
                                 videos / 'deep' / 'b.avi'], batch_size=3)
    assert [answer.error is None for answer in found] == [True, False, True]
    same(found[2], classifiers('inti')(videos / 'deep' / 'b.avi'))
    assert 'half.mp4 is truncated' in found[1].error
    assert found[1].as_dict() == dict(video=str(broken),
                                      error=found[1].error)
    told = [line for line in warnings if 'left out' in line]
    assert len(told) == 1
    assert told[0].startswith('1 of 3 videos left out: ')
    assert 'half.mp4 is truncated' in told[0]
    with pytest.raises(BrokenVideoError, match=r'half\.mp4 is truncated'):
        found[1].label  # noqa: B018
    with pytest.raises(BrokenVideoError, match=r'half\.mp4 is truncated'):
        classifiers('inti')(broken)


def test_wrong_arguments_are_one_sentence(classifiers, models, videos,
                                          tmp_path):
    classifier = classifiers('inti')
    with pytest.raises(FileNotFoundError, match='gone.mp4 does not exist'):
        classifier([videos / 'a.mp4', 'gone.mp4'])
    with pytest.raises(ValueError, match='holds neither videos'):
        classifier(tmp_path)
    with pytest.raises(ValueError, match='there is no video'):
        classifier([])
    for name in ('topk', 'batch_size'):
        with pytest.raises(ValueError, match=f'{name}=0 is too small'):
            classifier(videos, **{name: 0})
    config, checkpoint = models('inti')
    with pytest.raises(FileNotFoundError, match=r"checkpoint 'no\.pth'"):
        VideoClassifier(config, 'no.pth', device='cpu')
    with pytest.raises(FileNotFoundError, match=r"config 'no\.py'"):
        VideoClassifier('no.py', checkpoint, device='cpu')
    cfg = Config.fromfile(config)
    use_synthetic_data(cfg, 2)
    with pytest.raises(ValueError, match='a run with --synthetic, which '
                       'reads no videos: give the config that'):
        VideoClassifier(cfg, checkpoint, device='cpu')
    with pytest.raises(ValueError, match="there is no device 'gpu'"):
        VideoClassifier(config, checkpoint, device='gpu')
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline = []
    with pytest.raises(ValueError, match='no test_dataloader with a pipe'):
        VideoClassifier(cfg, checkpoint, device='cpu')
    with pytest.raises(RuntimeError, match='does not fit'):
        VideoClassifier(models('mote').config, checkpoint, device='cpu')


def test_views_that_pass_one_by_one_want_batches_of_one(models, videos):
    cfg = Config.fromfile(models('inti').config)
    cfg.model.test_cfg = dict(max_testing_views=2)
    classifier = VideoClassifier(cfg, models('inti').checkpoint,
                                 device='cpu')
    same(classifier(videos)[0],
         VideoClassifier(*models('inti'), device='cpu')(videos / 'a.mp4'))
    with pytest.raises(ValueError, match='max_testing_views=2 of the config'):
        classifier(videos, batch_size=2)


def test_scores_of_single_views_are_refused(models, videos):
    cfg = Config.fromfile(models('inti').config)
    cfg.model.cls_head.average_clips = None
    with pytest.raises(ValueError, match='scores for each view apart: set'):
        VideoClassifier(cfg, models('inti').checkpoint,
                        device='cpu')(videos / 'a.mp4')


# -- long videos -----------------------------------------------------------


@pytest.mark.parametrize('method', ['inti', 'mote', 'frames'])
def test_a_window_is_looked_at_like_a_video_of_its_frames(
        method, models, tmp_path):
    video = write_video(tmp_path / 'long.avi', 100)
    cfg = Config.fromfile(models(method).config)
    cfg.test_dataloader.dataset.filename_tmpl = 'img_{:05}.png'
    classifier = VideoClassifier(cfg, models(method).checkpoint,
                                 device='cpu')
    frames = frames_of(video, tmp_path / 'frames')
    found = classifier.over_time(frames, window=3.2, stride=3, fps=10)
    assert found.length == 3.2
    assert np.ptp(found.scores, axis=0).max() > 1e-4  # windows differ
    # The last window ends with the video.
    assert found.starts.tolist() == [0., 3., 6., 6.8]
    for place, start in enumerate((0, 30, 60, 68)):
        part = frames_of(video, tmp_path / f'{start}',
                         places=range(start, start + 32))
        alone = classifier(part, topk=3)
        best = (-found.scores[place]).argsort()[:3]
        assert [found.classes[k] for k in best] == alone.labels
        assert found.scores[place][best].tolist() == pytest.approx(
            alone.scores, abs=1e-5)
    # What the file says of its rate, and half a window as stride.
    told: list[tuple[int, int]] = []
    own = classifier.over_time(video, window=1.28, batch_size=4,
                               progress=lambda *args: told.append(args))
    assert told == [(4, 6), (6, 6)]
    assert own.starts.tolist() == pytest.approx(
        [0, .64, 1.28, 1.92, 2.56, 2.72])
    assert own.scores[0] == pytest.approx(found.scores[0], abs=1e-5)


@pytest.mark.parametrize('reader', ['Decord', 'PyAV', 'OpenCV'])
def test_each_frame_of_a_long_video_is_decoded_once(
        reader, models, tmp_path, monkeypatch):
    from mmaction.datasets.transforms import loading
    video = write_video(tmp_path / 'long.avi', 200)
    cfg = Config.fromfile(models('mote').config)
    expected = VideoClassifier(
        cfg, models('mote').checkpoint, device='cpu').over_time(video)
    steps = cfg.test_dataloader.dataset.pipeline
    steps[0].type = f'{reader}Init'
    steps[2].type = f'{reader}Decode'
    classifier = VideoClassifier(cfg, models('mote').checkpoint,
                                 device='cpu')
    asked: list[int] = []
    decoder = getattr(loading, f'{reader}Decode')
    plain = decoder.transform

    def transform(self, results: dict) -> dict:
        first = getattr(results['video_reader'], 'first', 0)
        asked.extend((first + np.asarray(results['frame_inds'])).tolist())
        return plain(self, results)

    monkeypatch.setattr(decoder, 'transform', transform)
    found = classifier.over_time(video)
    assert len(found.starts) == 7
    assert len(asked) == len(set(asked)) > 40
    assert asked == sorted(asked)
    assert np.allclose(found.scores, expected.scores, atol=1e-5)


def test_each_frame_of_a_long_video_is_made_a_picture_once(
        models, tmp_path, monkeypatch):
    video = write_video(tmp_path / 'long.avi', 200)
    made: list[int] = []
    plain = Painter.paint
    monkeypatch.setattr(Painter, 'paint', lambda self, frame: (
        made.append(frame.pts), plain(self, frame))[1])
    VideoClassifier(*models('mote'), device='cpu').over_time(video)
    assert len(made) == len(set(made)) > 40
    assert made == sorted(made)


def test_a_transform_in_place_does_not_reach_the_next_window(
        models, tmp_path):
    video = write_video(tmp_path / 'long.avi', 60)
    cfg = Config.fromfile(models('mote').config)
    cfg.test_dataloader.dataset.pipeline.insert(
        3, dict(type='Flip', flip_ratio=1.))
    classifier = VideoClassifier(cfg, models('mote').checkpoint,
                                 device='cpu')
    apart = classifier.over_time(video, .8, .8)
    shared = classifier.over_time(video, .8, .4)  # half of the frames
    assert len(shared.starts) == 5
    assert np.allclose(shared.scores[::2], apart.scores, atol=1e-6)


def test_a_short_video_is_one_window(classifiers, videos):
    found = classifiers('inti').over_time(videos / 'a.mp4', window=60)
    assert found.starts.tolist() == [0.] and found.length == .8
    alone = classifiers('inti')(videos / 'a.mp4', topk=400)
    best = dict(zip(alone.labels, alone.scores, strict=True))
    assert found.scores[0].tolist() == pytest.approx(
        [best[name] for name in found.classes], abs=1e-5)


def test_a_timeline_says_what_is_seen_when(classifiers, tmp_path):
    video = write_video(tmp_path / 'long.mp4', 80)
    found = classifiers('mote').over_time(video, 1., 1., classes=NEW)
    assert found.scores.shape == (4, 3)
    assert found.labels == [NEW[k] for k in found.scores.argmax(axis=1)]
    assert found.strongest(1) == [
        np.unravel_index(found.scores.argmax(), (4, 3))[1]]
    told = json.loads(json.dumps(found.as_dict(topk=2)))['windows']
    assert [(one['start'], one['end']) for one in told] == [
        (0, 1), (1, 2), (2, 3), (2.2, 3.2)]
    assert [one['labels'][0] for one in told] == found.labels
    assert all(len(one['scores']) == 2 for one in told)
    assert str(found).splitlines()[0] == f'{video}:'


@pytest.mark.parametrize('options, message', [
    (dict(window=float('inf')), 'window=inf is not a positive number'),
    (dict(window=0), 'window=0 is not a positive number'),
    (dict(stride=-1), 'stride=-1 is not a positive number'),
    (dict(fps=0), 'fps=0 is not a positive number'),
    (dict(batch_size=0), 'batch_size=0 is too small')])
def test_wrong_windows_are_one_sentence(options, message, classifiers,
                                        videos):
    with pytest.raises(ValueError, match=message):
        classifiers('inti').over_time(videos / 'a.mp4', **options)


def test_over_time_looks_at_one_video_with_a_known_rate(
        classifiers, videos, tmp_path):
    with pytest.raises(ValueError, match='is a folder of videos'):
        classifiers('inti').over_time(videos)
    frames = frames_of(videos / 'a.mp4', tmp_path / 'frames',
                       'img_{:05}.jpg')
    with pytest.raises(ValueError, match='frames does not say how many '
                       'frames it shows in a second: give fps'):
        classifiers('inti').over_time(frames)
    broken = cut(videos / 'a.mp4', tmp_path / 'half.mp4', .5)
    with pytest.raises(BrokenVideoError, match='is truncated'):
        classifiers('inti').over_time(broken)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('method', list(METHODS)[:4])
def test_a_gpu_answers_as_the_cpu_does(method, models, classifiers, videos):
    expected = classifiers(method)(videos / 'a.mp4')
    same(VideoClassifier(*models(method))(videos / 'a.mp4'), expected, 1e-3)
