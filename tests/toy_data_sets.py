"""Small stand-ins for data sets as their owners publish them.

Annotations have the published names and formats, videos are links to one
small file. Each function fills the folder ``root`` of a data set, with
``shots`` training videos of each class, and returns its lists.
"""

import json
import os
from pathlib import Path

import cv2
import numpy as np

from mmvidadapt.datasets.class_lists import class_names
from tests.toy_videos import write_video

#: Lines by name of the list.
Lists = dict[str, list[str]]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def _one_video(root: Path, suffix: str = '.mp4') -> Path:
    root.mkdir(parents=True, exist_ok=True)
    return write_video(root / f'one{suffix}')


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name or ',' in name else name


def kinetics400(root: Path, shots: int = 16) -> Lists:
    """Training videos without class folders, validation videos in them.

    The last training video is annotated and not there, and in no list.
    """
    video = _one_video(root)
    rows: dict[str, list[str]] = dict(train=[], val=[])
    lists: Lists = dict(train=[], val=[])
    for label, name in enumerate(class_names('k400')):
        for split, number in (('train', shots), ('val', 1)):
            for place in range(number):
                clip = f'{split[0]}{label:06d}{place:04d}'
                rows[split].append(f'{_quoted(name)},{clip},{place},'
                                   f'{place + 10},{split},0')
                file = f'{clip}_{place:06d}_{place + 10:06d}.mp4'
                if split == 'val':
                    file = f'{name}/{file}'
                _link(video, root / f'videos_{split}' / file)
                lists[split].append(f'{file} {label}')
    rows['train'].append('zumba,gone_______,1,11,train,0')
    for split, lines in rows.items():
        _write(root / 'annotations' / f'{split}.csv',
               ['label,youtube_id,time_start,time_end,split,is_cc', *lines])
    return {f'kinetics400_{split}_list_videos.txt': lines
            for split, lines in lists.items()}


def kinetics600(root: Path) -> Lists:
    """One test video of each class."""
    video = _one_video(root)
    rows, files = [], {}
    for label, name in enumerate(class_names('k600')):
        rows.append(f'{_quoted(name)},test{label:07d},3,13,test')
        files[name] = f'test{label:07d}_000003_000013.mp4'
        _link(video, root / 'videos_test' / files[name])
    _write(root / 'annotations' / 'test.csv',
           ['label,youtube_id,time_start,time_end,split', *rows])
    lists: Lists = {}
    for number in (1, 2, 3):
        wanted = class_names(f'k600_zeroshot_{number}')
        lists[f'kinetics600_zeroshot_{number}_list_videos.txt'] = [
            f'{file} {wanted.index(name)}'
            for name, file in files.items() if name in wanted]
    return lists


def sthv1(root: Path) -> Lists:
    """A training and a validation folder of 20 frames of each class."""
    root.mkdir(parents=True, exist_ok=True)
    frame = root / 'one.jpg'
    cv2.imwrite(str(frame), np.full((48, 64, 3), 90, np.uint8))
    lists: Lists = {}
    for first, split, word in ((1, 'train', 'train'),
                               (1001, 'val', 'validation')):
        rows, lines = [], []
        for label, name in enumerate(class_names('sthv1')):
            for place in range(20):
                _link(frame, root / 'rawframes' / str(first + label)
                      / f'{place + 1:05d}.jpg')
            rows.append(f'{first + label};{name}')
            lines.append(f'{first + label} 20 {label}')
        _write(root / 'annotations' / f'something-something-v1-{word}.csv',
               rows)
        lists[f'sthv1_{split}_list_rawframes.txt'] = lines
    return lists


def sthv2(root: Path, shots: int = 16) -> Lists:
    """Videos by number, templates with brackets."""
    video = _one_video(root)
    lists: Lists = {}
    for first, split, word, number in ((1, 'train', 'train', shots),
                                       (90001, 'val', 'validation', 1)):
        items, lines = [], []
        for label, name in enumerate(class_names('sthv2')):
            for place in range(number):
                clip = first + label * number + place
                items.append(dict(
                    id=str(clip), label='a thing', placeholders=['a thing'],
                    template=name.replace('something', '[something]')))
                _link(video, root / 'videos' / f'{clip}.webm')
                lines.append(f'{clip}.webm {label}')
        _write(root / 'annotations' / f'{word}.json', [json.dumps(items)])
        lists[f'sthv2_{split}_list_videos.txt'] = lines
    return lists


def ucf101(root: Path, shots: int = 16) -> Lists:
    """Three splits over the same videos."""
    video = _one_video(root, '.avi')
    names = class_names('ucf101')
    folder = root / 'annotations' / 'ucfTrainTestlist'
    _write(folder / 'classInd.txt',
           [f'{label} {name}' for label, name in enumerate(names, 1)])
    files = {}
    for name in names:
        # As published: the folder has a small s, its files a capital one.
        stem = name.replace('HandstandPushups', 'HandStandPushups')
        files[name] = [f'{name}/v_{stem}_g{place:02d}_c01.avi'
                       for place in range(1, shots + 2)]
        for file in files[name]:
            _link(video, root / 'videos' / file)
    lists: Lists = {}
    for split in (1, 2, 3):
        train, test = [], []
        for label, name in enumerate(names):
            for place, file in enumerate(files[name], 1):
                (test if place == split else train).append((file, label))
        _write(folder / f'trainlist{split:02d}.txt',
               [f'{file} {label + 1}' for file, label in train])
        _write(folder / f'testlist{split:02d}.txt',
               [file for file, _ in test])
        for word, part in (('train', train), ('val', test)):
            lists[f'ucf101_{word}_split_{split}_videos.txt'] = [
                f'{file} {label}' for file, label in part]
    return lists


def hmdb51(root: Path, shots: int = 16) -> Lists:
    """Three splits over the same videos, one of which is in no list."""
    video = _one_video(root, '.avi')
    lists: Lists = {f'hmdb51_{word}_split_{split}_videos.txt': []
                    for split in (1, 2, 3) for word in ('train', 'val')}
    for label, name in enumerate(class_names('hmdb51')):
        files = [f'a_film_{name}_u_nm_np1_ba_goo_{place}.avi'
                 for place in range(shots + 2)]
        for file in files:
            _link(video, root / 'videos' / name / file)
        for split in (1, 2, 3):
            rows = []
            for place, file in enumerate(files):
                mark = 2 if place == split else 0 if place == 0 else 1
                rows.append(f'{file} {mark} ')
                if mark:
                    word = {1: 'train', 2: 'val'}[mark]
                    lists[f'hmdb51_{word}_split_{split}_videos.txt'].append(
                        f'{name}/{file} {label}')
            _write(root / 'annotations' / 'testTrainMulti_7030_splits'
                   / f'{name}_test_split{split}.txt', rows)
    return lists
