"""Folders and files that only their owner can read: made safely, or refused with a reason.

Everything below `$PSUP_HOME` may show what somebody else's pipeline does, so it is never made with
the umask of the day. An existing folder that others can enter is refused, not silently changed:
whoever sets `PSUP_HOME=/tmp` by mistake must not lose `/tmp`. Standard library only: the command
line uses this before anything else is imported.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from supervisor.errors import StoreError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_folder(folder: Path) -> None:
    """Make sure that the folder exists, is ours, and is closed to everybody else.

    An empty folder of ours is closed to others; one that holds something already is left alone.

    Raises:
        StoreError: it cannot be made, is no folder, belongs to somebody else, or is open to others.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.stat()
        if _may_be_tightened(folder, found):
            folder.chmod(0o700)
            found = folder.stat()
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"the folder {folder} cannot be used: {reason}"
        raise StoreError(message, hint="set PSUP_HOME to a folder that you can write to") from error
    if found.st_uid != os.geteuid():
        message = f"the folder {folder} belongs to user id {found.st_uid}, not to you"
        raise StoreError(message, hint="set PSUP_HOME to a folder of your own")
    if found.st_mode & _OTHERS:
        message = f"the folder {folder} is open to other users (mode {found.st_mode & 0o777:04o})"
        hint = f"chmod 700 {folder}, or set PSUP_HOME to a folder that is only for psup"
        raise StoreError(message, hint=hint)


def _may_be_tightened(folder: Path, found: os.stat_result) -> bool:
    """Tell whether closing this folder can hurt nobody: ours, empty, and no shared `/tmp`."""
    return (
        found.st_uid == os.geteuid()
        and bool(found.st_mode & _OTHERS)
        and not found.st_mode & stat.S_ISVTX
        and not any(folder.iterdir())
    )


def private_file(file: Path) -> None:
    """Make sure that the file exists, and that only its owner can read and write it.

    An existing file is never opened here: closing it would drop the locks that SQLite holds on it
    elsewhere in this process.

    Raises:
        StoreError: it cannot be made or changed.
    """
    try:
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if file.stat().st_mode & _OTHERS:
            file.chmod(0o600)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{file} cannot be made, or closed to other users: {reason}"
        raise StoreError(message, hint=f"check who owns {file} and its folder") from error
