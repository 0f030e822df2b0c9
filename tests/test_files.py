"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from mmvidadapt.files import check_folder, whole_file


def test_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with whole_file(path) as partial:
        assert partial.suffix == '.txt' and partial.parent == tmp_path
        partial.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [path]


def test_its_folder_is_made(tmp_path: Path) -> None:
    with whole_file(tmp_path / 'new' / 'folder' / 'a.txt') as partial:
        partial.write_text('new')
    assert (tmp_path / 'new' / 'folder' / 'a.txt').read_text() == 'new'


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(ZeroDivisionError), whole_file(path) as partial:
        partial.write_text('half')
        raise ZeroDivisionError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(tmp_path / 'new' / 'folder')
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='file is a file: choose another'):
        check_folder(tmp_path / 'file' / 'folder')
    monkeypatch.setattr('os.access', lambda *_: False)
    with pytest.raises(PermissionError, match=f'{tmp_path} cannot be writ'):
        check_folder(tmp_path / 'new' / 'folder')
    assert not (tmp_path / 'new').exists()
