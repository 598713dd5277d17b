"""Folders and files that only their owner can read, and what is refused."""

import os
import stat

import pytest

from supervisor.errors import StoreError
from supervisor.runtime.private_files import private_file, private_folder


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path, open_umask):
    """A folder is made with its parents, and closed whatever the umask."""
    folder = tmp_path / "a" / "b"
    private_folder(folder)
    assert mode(folder) == 0o700
    private_folder(folder)
    assert mode(folder) == 0o700


def test_an_empty_folder_is_closed(tmp_path, open_umask):
    """A folder that somebody made for us with mkdir is taken and closed."""
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o755)
    private_folder(folder)
    assert mode(folder) == 0o700


@pytest.mark.parametrize(
    ("bits", "content"), [(0o755, True), (0o1777, False)], ids=["in use", "like /tmp"]
)
def test_a_folder_of_others_use_is_refused(tmp_path, bits, content):
    """A folder in use, or a shared one, is refused with what to type, and stays as it is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(bits)
    if content:
        (folder / "file").touch()
    with pytest.raises(StoreError, match="open to other users") as caught:
        private_folder(folder)
    assert f"chmod 700 {folder}" in caught.value.hint
    assert mode(folder) == bits


def test_what_is_no_folder_is_refused(tmp_path):
    """A file in the way is named."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used"):
        private_folder(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match=r"open to other users|cannot be used"):
        private_folder(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(tmp_path):
    """A folder of another user is refused even when it is closed."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(StoreError, match="belongs to user id 65534"):
        private_folder(folder)


def test_files_are_made_and_kept_private(tmp_path, open_umask):
    """A new file is closed to others, an open one is closed, and its content is left alone."""
    private_file(tmp_path / "new")
    (tmp_path / "old").write_text("content")
    (tmp_path / "old").chmod(0o644)
    private_file(tmp_path / "old")
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o600, 0o600)
    assert (tmp_path / "old").read_text() == "content"


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    """A missing folder is reported with the file's name."""
    with pytest.raises(StoreError, match=r"missing/state.db cannot be made"):
        private_file(tmp_path / "missing" / "state.db")
