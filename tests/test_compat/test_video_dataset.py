"""Annotation lists: spaces in paths, named errors, labels and classes."""

from pathlib import Path

import pytest
import torch
from mmaction.datasets import RawframeDataset, VideoDataset
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from toy_recognizer import toy_config, toy_runner

from mmvidadapt.compat import annotation_lists
from mmvidadapt.compat.annotation_lists import (
    ListError,
    split_rawframe_line,
    split_video_line,
)
from mmvidadapt.engine.hooks import CheckLabelsHook
from mmvidadapt.models.heads.checks import check_labels
from mmvidadapt.run import mmaction_tools
from tests.scripts import run_here, working_in


def _list(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / 'my list.txt'
    path.write_text('\n'.join(lines))
    return str(path)


def _videos(ann_file: str, **kwargs) -> VideoDataset:
    init_default_scope('mmaction')
    return VideoDataset(ann_file, pipeline=[], **kwargs)


def _entries(dataset: VideoDataset | RawframeDataset, key: str) -> list:
    return [(dataset.get_data_info(index)[key],
             dataset.get_data_info(index)['label'])
            for index in range(len(dataset))]


@pytest.mark.parametrize('line, path, label', [
    ('a.mp4 3', 'a.mp4', 3),
    ('drinking (31).mp4 1', 'drinking (31).mp4', 1),
    ('my videos/clip 2 of 7.mp4 12', 'my videos/clip 2 of 7.mp4', 12),
    ('no extension 7 3', 'no extension 7', 3),
    ('a.mp4  3', 'a.mp4', 3),
    ('a.mp4 -1', 'a.mp4', -1),
    ('a.mp4', 'a.mp4', -1),
    ('12 3', '12', 3),
    ('12', '12', -1),
])
def test_label_is_the_last_field(line: str, path: str, label: int) -> None:
    assert split_video_line(line) == (path, label)


@pytest.mark.parametrize('line, path, labels', [
    ('my clip.mp4 1 3 5', 'my clip.mp4', [1, 3, 5]),
    ('dir 1/clip 3.mp4 4 5', 'dir 1/clip 3.mp4', [4, 5]),
    ('12 1 3', '12', [1, 3]),
    ('clip.mp4', 'clip.mp4', []),
])
def test_several_labels_are_the_integers_at_the_end(
        line: str, path: str, labels: list[int]) -> None:
    assert split_video_line(line, multi_class=True) == (path, labels)


@pytest.mark.parametrize('delimiter', [',', '\t', '; '])
def test_other_delimiters(delimiter: str) -> None:
    for line, expected in ((f'my clip.mp4{delimiter}2', ('my clip.mp4', 2)),
                           ('my clip.mp4', ('my clip.mp4', -1))):
        assert split_video_line(line, delimiter) == expected
    assert split_video_line(f'a, b.mp4{delimiter}2', delimiter) == (
        'a, b.mp4', 2)


@pytest.mark.parametrize('line, multi_class, message', [
    ('a.mp4 cat', False, "'cat' is not an integer label: end the line with"),
    ('my clip.mp4', False, "'clip.mp4' is not an integer label: .*delimiter"),
    ('a.mp4 cat', True, "'cat' is not an integer label"),
    ('a.mp4 1 3', False, '2 labels follow the path: set multi_class=True'),
])
def test_bad_video_lines_say_what_to_do(line: str, multi_class: bool,
                                        message: str) -> None:
    with pytest.raises(ListError, match=message):
        split_video_line(line, multi_class=multi_class)


def test_video_dataset_reads_spaces_prefix_and_start_index(
        tmp_path: Path) -> None:
    ann_file = _list(tmp_path, 'a b/c d.mp4 1', '', 'e.mp4 0', '')
    dataset = _videos(ann_file, data_prefix=dict(video='/root dir'),
                      start_index=1, test_mode=True)
    assert _entries(dataset, 'filename') == [
        ('/root dir/a b/c d.mp4', 1), ('/root dir/e.mp4', 0)]
    assert dataset.get_data_info(0)['start_index'] == 1
    assert dataset.get_data_info(1)['ann_line'] == 3


def test_video_dataset_without_labels(tmp_path: Path) -> None:
    ann_file = _list(tmp_path, 'a b.mp4', 'c.mp4')
    dataset = _videos(ann_file, delimiter='\t')
    assert _entries(dataset, 'filename') == [('a b.mp4', -1), ('c.mp4', -1)]


def test_video_dataset_of_several_classes(tmp_path: Path) -> None:
    ann_file = _list(tmp_path, 'a b.mp4 0 2')
    dataset = _videos(ann_file, multi_class=True, num_classes=4)
    label = dataset.get_data_info(0)['label']
    assert torch.equal(label, torch.tensor([1., 0., 1., 0.]))


@pytest.mark.parametrize('lines, kwargs, message', [
    ([''], {}, r'my list\.txt is empty: write one line for each video'),
    (['a.mp4 1', 'b.mp4 x'], {}, r"my list\.txt, line 2: 'x' is not an"),
    (['a.mp4 1'], dict(multi_class=True), 'set num_classes of the dataset'),
    (['a.mp4 1 4'], dict(multi_class=True, num_classes=4),
     r'my list\.txt, line 1: label 4 is outside the 4 classes \(0 to 3\): '
     'correct it, or set num_classes'),
])
def test_video_dataset_names_list_line_and_remedy(
        tmp_path: Path, lines: list[str], kwargs: dict,
        message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _videos(_list(tmp_path, *lines), **kwargs)


@pytest.mark.parametrize('line, kwargs, expected', [
    ('dir 9 1', {}, dict(frame_dir='dir', total_frames=9, label=1)),
    ('my  dir 9\t1', {}, dict(frame_dir='my  dir', total_frames=9, label=1)),
    ('my dir 9', {}, dict(frame_dir='my dir', total_frames=9, label=-1)),
    ('my dir 2 9 1', dict(with_offset=True),
     dict(frame_dir='my dir', offset=2, total_frames=9, label=1)),
    ('my dir 9 1 3', dict(multi_class=True),
     dict(frame_dir='my dir', total_frames=9, label=[1, 3])),
])
def test_rawframe_lines_may_hold_spaces(line: str, kwargs: dict,
                                        expected: dict) -> None:
    assert split_rawframe_line(line, **kwargs) == expected


@pytest.mark.parametrize('line, kwargs, message', [
    ('dir', {}, '0 numbers end the line, 1 are needed: write `folder total'),
    ('dir 9', dict(with_offset=True), '1 numbers end the line, 2 are needed'),
    ('dir 9 1 3', {}, '3 numbers end the line, at most 2 .*multi_class=True'),
])
def test_bad_rawframe_lines_say_what_to_do(line: str, kwargs: dict,
                                           message: str) -> None:
    with pytest.raises(ListError, match=message):
        split_rawframe_line(line, **kwargs)


def test_rawframe_dataset_reads_spaces_and_names_errors(
        tmp_path: Path) -> None:
    init_default_scope('mmaction')
    dataset = RawframeDataset(_list(tmp_path, 'a b 9 1'), pipeline=[],
                              data_prefix=dict(img='frames'))
    assert _entries(dataset, 'frame_dir') == [('frames/a b', 1)]
    assert dataset.get_data_info(0)['start_index'] == 1
    with pytest.raises(ValueError, match=r'my list\.txt is empty'):
        RawframeDataset(_list(tmp_path, ''), pipeline=[])
    with pytest.raises(ValueError, match=r'my list\.txt, line 2: 0 numbers'):
        RawframeDataset(_list(tmp_path, 'a 9 1', 'b'), pipeline=[])


def test_list_mends_are_needed_only_where_the_fault_is(
        monkeypatch: pytest.MonkeyPatch) -> None:
    assert not annotation_lists.videos_needed()
    assert not annotation_lists.rawframes_needed()
    assert not annotation_lists.labels_needed()

    def as_released(self: VideoDataset) -> list:
        for line in Path(self.ann_file).read_text().splitlines():
            _, _ = line.split(' ')
        return []

    monkeypatch.setattr(VideoDataset, 'load_data_list', as_released)
    monkeypatch.setattr(RawframeDataset, 'load_data_list', as_released)
    monkeypatch.setattr(Runner, 'register_hooks',
                        Runner.register_hooks.__wrapped__)
    assert annotation_lists.videos_needed()
    assert annotation_lists.rawframes_needed()
    assert annotation_lists.labels_needed()


# --- labels and classes ----------------------------------------------------


def test_head_check_names_label_classes_and_remedy() -> None:
    check_labels(torch.tensor([[0], [2]]), 3)
    check_labels(torch.rand(2, 3), 3)
    check_labels(torch.tensor(2), 3)
    with pytest.raises(ValueError, match=r'label 5 is outside the 3 classes '
                       r'\(0 to 2\): .*set num_classes of the head to at '
                       'least 6'):
        check_labels(torch.tensor([1, 5]), 3)
    with pytest.raises(ValueError, match='label -1 is outside .*counted from '
                       '0'):
        check_labels(torch.tensor([-1]), 3)
    with pytest.raises(ValueError, match='soft labels of 4 classes reach a '
                       'head of 3: set num_classes'):
        check_labels(torch.rand(2, 4), 3)


def _with_list(tmp_path: Path, ann_file: str, part: str) -> dict:
    dataset = dict(type='VideoDataset', ann_file=ann_file, _delete_=True,
                   pipeline=[dict(type='PackActionInputs')])
    if part == 'train':  # as configs do it: repeated and concatenated
        dataset = dict(type='RepeatDataset', times=2, _delete_=True,
                       dataset=dict(type='ConcatDataset', datasets=[dict(
                           dataset, _delete_=False)]))
        del dataset['dataset']['datasets'][0]['_delete_']
    return {f'{part}_dataloader.dataset': dataset}


@pytest.mark.parametrize('part', ['train', 'val', 'test'])
def test_every_run_names_the_label_outside_the_classes(tmp_path: Path,
                                                       part: str) -> None:
    ann_file = _list(tmp_path, 'a b.mp4 1', '', 'c.mp4 7')
    runner = toy_runner(tmp_path, **_with_list(tmp_path, ann_file, part))
    start = runner.test if part == 'test' else runner.train
    with pytest.raises(ValueError, match=r'my list\.txt, line 3 \(c\.mp4\): '
                       r'label 7 is outside the 3 classes \(0 to 2\): '
                       '.*num_classes of the head to at least 8'):
        start()


def test_lists_without_labels_may_be_tested_but_not_trained(
        tmp_path: Path) -> None:
    hook = CheckLabelsHook()
    ann_file = _list(tmp_path, 'a.mp4')
    for part, fails in (('test', False), ('train', True)):
        runner = toy_runner(tmp_path, **_with_list(tmp_path, ann_file, part))
        if fails:
            with pytest.raises(ValueError, match='label -1 is outside'):
                hook.before_train(runner)
        else:
            hook.before_test(runner)


@pytest.mark.parametrize('copies', [False, True])
def test_flip_that_renames_other_classes_is_refused(tmp_path: Path,
                                                    copies: bool) -> None:
    def loader(names: list[str]) -> dict:
        flip = dict(type='LabelAwareFlip', classes=names)
        step = dict(type='RepeatAugment', transforms=[flip]) if copies else (
            flip)
        return {'train_dataloader.dataset': dict(
            type='VideoDataset', ann_file=_list(tmp_path, 'a.mp4 1'),
            pipeline=[step], _delete_=True)}

    hook = CheckLabelsHook()
    hook.before_train(toy_runner(tmp_path, **loader(['a', 'b', 'c'])))
    with pytest.raises(ValueError, match='LabelAwareFlip changes labels of 2 '
                       'classes, and the model has 3: give LabelAwareFlip '
                       'the class names'):
        hook.before_train(toy_runner(tmp_path, **loader(['a', 'b'])))


def test_folder_of_another_class_is_refused(tmp_path: Path) -> None:
    """HMDB-51 has lists in which four classes have each other's numbers."""
    def check(*lines: str) -> None:
        runner = toy_runner(tmp_path, **_with_list(
            tmp_path, _list(tmp_path, *lines), 'test'))
        runner.model.cls_head.class_names = ['kick', 'Kick_Ball', 'run']
        CheckLabelsHook().before_test(runner)

    check('kick/a.mp4 0', 'kick_ball/b.mp4 1', 'videos/c.mp4 0', 'run/d.mp4')
    with pytest.raises(ValueError, match=r"my list\.txt, line 2 \(kick ball/b"
                       r"\.mp4\): label 0 is 'kick' among the classes of the "
                       'head, and the folder is that of class 1: give the '
                       'head its classes in the order of the labels'):
        check('kick/a.mp4 0', 'kick ball/b.mp4 0')


def test_label_hook_is_registered_once(tmp_path: Path) -> None:
    for extra in ({}, dict(custom_hooks=[dict(type='CheckLabelsHook')])):
        hooks = toy_runner(tmp_path, **extra).hooks
        assert sum(isinstance(hook, CheckLabelsHook) for hook in hooks) == 1


@pytest.mark.parametrize('script, lines, message', [
    ('train.py', ['a b.mp4 9'],
     'my list.txt, line 1 (a b.mp4): label 9 is outside the 3 classes'),
    ('test.py', [''], 'my list.txt is empty: write one line for each video'),
])
def test_scripts_of_mmaction2_show_the_error(tmp_path: Path, script: str,
                                             lines: list[str],
                                             message: str) -> None:
    part = script[:-3]
    config = toy_config(tmp_path, **_with_list(
        tmp_path, _list(tmp_path, *lines), part))
    config.dump(tmp_path / 'toy.py')
    torch.save({}, tmp_path / 'any.pth')
    checkpoint = ['any.pth'] if part == 'test' else []
    with working_in(tmp_path), pytest.raises(ValueError) as caught:
        run_here(mmaction_tools() / script, 'toy.py', *checkpoint)
    assert message in str(caught.value).splitlines()[-1]
