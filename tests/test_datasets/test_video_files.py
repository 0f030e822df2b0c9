"""Which files and folders are videos."""

from pathlib import Path

import pytest

from mmvidadapt.datasets.video_files import find_videos


@pytest.fixture
def folder(tmp_path) -> Path:
    """Videos and frames at two depths, with what lies beside them."""
    for name in ('a.mp4', 'sheet.png', '._a.mp4', '.cache/b.mp4',
                 'deep/c.AVI', 'deep/cover.jpg', 'deep/notes.txt',
                 'frames/img_00001.jpg', 'frames/._img_00001.jpg',
                 'no_frames/._img_00001.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def found(*paths: Path) -> list[str]:
    return [path.name for path in find_videos(paths)]


def test_pictures_beside_videos_are_no_frames(folder):
    assert found(folder) == ['a.mp4', 'c.AVI', 'frames']
    assert found(folder / 'deep') == ['c.AVI']
    assert found(folder / 'frames') == ['frames']


def test_hidden_files_are_no_videos_unless_given(folder):
    assert found(folder / '._a.mp4') == ['._a.mp4']
    with pytest.raises(ValueError, match='no_frames holds neither videos'):
        find_videos([folder / 'no_frames'])


def test_each_video_is_there_once(folder):
    assert found(folder / 'deep', folder, folder / 'a.mp4') == [
        'c.AVI', 'a.mp4', 'frames']
