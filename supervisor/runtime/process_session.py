"""Processes that were started together: who of them lives, how to end them, how to hear of an end.

A session (`setsid`) is what a program and everything it starts share unless one of them leaves it
on purpose. Its number is its first process's pid, and the kernel gives it to nobody else while the
session has members. Safe against pids that are used again: every signal goes through a pidfd whose
process was looked at after it was opened. Standard library only.
Read next: `process_identity.py` (names of processes), `adapters/embedded_ray.py` (who uses this).
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.runtime.process_identity import started_ticks


@dataclass(frozen=True, slots=True)
class Member:
    """One process of this boot, named so that a later one with its pid cannot be taken for it."""

    pid: int
    started_ticks: int

    def is_alive(self) -> bool:
        """Tell whether that very process still runs; a zombie does not."""
        return started_ticks(self.pid) == self.started_ticks

    @property
    def program(self) -> str:
        """The name of what it runs, cut by the kernel at 15 characters; "" if it is gone."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/comm").read_text(encoding="utf-8").strip()
        return ""


def members_of(sid: int, folder: Path) -> list[Member]:
    """Return the living processes of a session that was started in a folder of its own.

    Args:
        sid: the session's number.
        folder: where at least one member works as long as the session is the one that is meant. It
            vouches for all; without it the number may belong to a stranger by now, and the answer
            is empty.
    """
    members = [member for pid in _own_pids() if (member := _member(pid, sid)) is not None]
    return members if any(_works_in(folder, member) for member in members) else []


def kill(members: Sequence[Member], wait_s: float = 1.0) -> None:
    """Send SIGKILL to each, and wait a moment for them to be gone; look again afterwards."""
    with ExitStack() as stack:
        for handle in _open_handles(members, stack):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], wait_s)


def on_end(members: Mapping[str, Member], tell: Callable[[str], None]) -> Callable[[], None]:
    """Have somebody told, once and in a thread of its own, when the first of some processes ends.

    Args:
        members: by the name under which `tell` hears of it; one that is gone already counts.
        tell: called with that name.

    Returns:
        What calls it off; harmless when it is too late.
    """
    off_fd = os.eventfd(0, os.EFD_CLOEXEC)
    called_off = threading.Event()

    def wait() -> None:
        with ExitStack() as stack:
            names = {
                handle: name
                for name, member in members.items()
                for handle in _open_handles([member], stack)
            }
            gone = [name for name in members if name not in names.values()]
            if not gone:
                ready, _, _ = select.select([off_fd, *names], [], [])
                gone = [names[fd] for fd in ready if fd in names]
        if not called_off.is_set():
            tell(gone[0])

    waiting = threading.Thread(target=wait, name="psup-on-end", daemon=True)
    waiting.start()

    def call_off() -> None:
        if called_off.is_set():
            return
        called_off.set()
        os.eventfd_write(off_fd, 1)
        if waiting is not threading.current_thread():  # it may be `tell` that calls
            waiting.join()
        os.close(off_fd)

    return call_off


def _open_handles(members: Sequence[Member], stack: ExitStack) -> Iterator[int]:
    """Yield a pidfd of each that lives; all are closed with the stack."""
    for member in members:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(member.pid)
            stack.callback(os.close, handle)
            if member.is_alive():
                yield handle


def _own_pids() -> Iterator[int]:
    """Yield the pids of this user's processes."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                if entry.stat().st_uid == os.getuid():
                    yield int(entry.name)


def _member(pid: int, sid: int) -> Member | None:
    try:
        if os.getsid(pid) != sid:
            return None
    except ProcessLookupError:
        return None
    ticks = started_ticks(pid)
    return None if ticks is None else Member(pid, ticks)


def _works_in(folder: Path, member: Member) -> bool:
    try:
        return Path(f"/proc/{member.pid}/cwd").readlink() == folder.resolve() and member.is_alive()
    except OSError:
        return False
