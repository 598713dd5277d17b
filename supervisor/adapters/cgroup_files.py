"""Read, write and empty the folders of control groups: the only file that opens what is in them.

A group may vanish, and a process may end, between any two steps here: that is never an error.
Read next: `cgroup_versions.py`, which knows what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path as FilePath

LINKS_OF_A_LEAF = 2
REMOVE_TIMEOUT_S = 5.0
REMOVE_CHECK_S = 0.002


def write(file: FilePath, value: int | str) -> None:
    """Write one value; the kernel answers a bad one with an OSError."""
    with file.open("w") as opened:
        opened.write(str(value))


def number(file: FilePath) -> int:
    """Read a file that holds one number."""
    return int(file.read_text())


def fields(file: FilePath) -> dict[str, int]:
    """Read a file of `name value` lines."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def pids_in(folder: FilePath) -> list[int]:
    """Return the processes of a group, without those of groups inside it."""
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):  # removed before, or while, we looked
            return []
        raise


def pids_below(folder: FilePath) -> list[int]:
    """Return the processes of a group and of all groups inside it."""
    return [pid for place in (folder, *inner_folders(folder)) for pid in pids_in(place)]


def inner_folders(folder: FilePath) -> list[FilePath]:
    """Return all folders below, deepest first; a body may have made some."""
    if folder.exists() and folder.stat().st_nlink == LINKS_OF_A_LEAF:  # nearly always; and cheap
        return []
    return [
        FilePath(top) / name for top, names, _ in os.walk(folder, topdown=False) for name in names
    ]


def subfolders(folder: FilePath) -> list[FilePath]:
    """Return the groups directly inside a group."""
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []


def kill_members(folder: FilePath) -> None:
    """Send SIGKILL to every process of a group and of all groups inside it, once."""
    for pid in pids_below(folder):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, signal.SIGKILL)


def remove_folder(folder: FilePath) -> None:
    """Remove one folder; the kernel may need a moment after the last process has gone."""
    deadline_s = time.monotonic() + REMOVE_TIMEOUT_S
    while True:
        try:
            folder.rmdir()
        except OSError as error:
            if isinstance(error, FileNotFoundError) or time.monotonic() > deadline_s:
                raise
            time.sleep(REMOVE_CHECK_S)
        else:
            return


def count_open_files(pid: int) -> int:
    """Return how many descriptors a process has open."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  many times a minute, for ever
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # ended, or not ours to see
        return 0
