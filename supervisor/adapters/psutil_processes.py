"""Find and measure the processes of one life without control groups: the only file with psutil.

A process is of a life when it carries the life's token in its environment, belongs to the body's
session, or descends from one that is. Once seen it stays a member, whatever it does to hide: it is
known by pid and start time. Read next: `rlimit_limiter.py`, which acts on what is found here.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import psutil

from supervisor.runtime.mark import VARIABLE

SETTLED_S = 1.0
MEMORY_S = 30.0
"""How long a pid is passed over: long enough to be cheap, far too short for a system to use up its
pids and give that one to a process of ours."""


class Passers:
    """The processes that carry no mark, remembered by all families: examining one is dear.

    What was forked a moment ago may yet become a body, so only the settled are remembered; and pids
    are used again, so all is forgotten from time to time.
    """

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._forgotten_s = time.monotonic()

    def leave_out(self, present: AbstractSet[int]) -> AbstractSet[int]:
        """Return those of the present pids that must be looked at."""
        if time.monotonic() - self._forgotten_s > MEMORY_S:
            self._forgotten_s = time.monotonic()
            self._pids.clear()
        self._pids &= present
        return present - self._pids

    def add(self, process: psutil.Process) -> None:
        """Remember a process that is nobody's, if it has had the time to become somebody's."""
        zombie = process.status() == psutil.STATUS_ZOMBIE
        if zombie or time.time() - process.create_time() > SETTLED_S:
            self._pids.add(process.pid)


class ProcessFamily:
    """The processes of one life, remembered from look to look.

    Args:
        token: the value of `PSUP_TOKEN` that marks them.
        passers: shared by all families of this process.
        spared: pids that are never members, whatever they carry.
    """

    def __init__(self, token: str, passers: Passers, spared: AbstractSet[int]) -> None:
        if not token:  # every process that carries none would be a member
            raise ValueError("a family needs the token that marks it")
        self._token = token
        self._passers = passers
        self._spared = spared
        self._members: dict[int, psutil.Process] = {}

    def find(self, body_pid: int | None) -> Sequence[int]:
        """Look again and return the living members; costs little when no process is new."""
        self._members = {pid: one for pid, one in self._members.items() if _lives(one)}
        unknown = self._passers.leave_out(set(psutil.pids()))
        for pid in sorted(unknown - self._members.keys() - self._spared):
            self._consider(pid, body_pid)
        return sorted(self._members)

    def resident_bytes(self) -> int:
        """Return the memory found last, shared pages counted in every process: an upper bound."""
        return int(self._sum(lambda one: one.memory_info().rss))

    def proportional_bytes(self) -> int:
        """Return the memory found last, shared pages divided: exact, and many times dearer."""
        return int(self._sum(lambda one: one.memory_full_info().pss))

    def cpu_s(self) -> float:
        """Return the processor time of the living members and the children they waited for."""
        return self._sum(lambda one: sum(one.cpu_times()[:4]))

    def threads(self) -> int:
        """Return the number of threads, which is what the kernel's `pids.max` counts too."""
        return int(self._sum(lambda one: one.num_threads()))

    def open_files(self) -> int:
        """Return the number of open descriptors."""
        return int(self._sum(lambda one: one.num_fds()))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every member found last that still lives."""
        for one in self._members.values():
            try:
                one.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def _consider(self, pid: int, body_pid: int | None) -> None:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                lives = process.status() != psutil.STATUS_ZOMBIE
                token = _token(process) if lives else ""
                if lives and self._belongs(process, token, body_pid):
                    self._members[pid] = process
                elif not token:
                    self._passers.add(process)
        except (psutil.Error, ProcessLookupError):  # it ended while we looked
            return

    def _belongs(self, process: psutil.Process, token: str, body_pid: int | None) -> bool:
        if token == self._token or process.ppid() in self._members:
            return True
        return bool(body_pid) and body_pid in (process.pid, os.getsid(process.pid))

    def _sum(self, measure: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for one in self._members.values():
            try:
                total += measure(one)
            except psutil.Error:  # it ended while we looked, or became another user's
                continue
        return total


class PsutilProcesses:
    """All processes of this node, as far as this user may see them."""

    def __init__(self) -> None:
        self._passers = Passers()
        me = psutil.Process()
        # A member's children are members: one mistake about these, and everything is ended.
        self._spared = frozenset({1, me.pid, *(parent.pid for parent in me.parents())})

    def family(self, token: str) -> ProcessFamily:
        """Return the processes that carry this token, to be looked for."""
        return ProcessFamily(token, self._passers, self._spared)

    def tokens(self) -> set[str]:
        """Return every token that some living process carries."""
        found = set()
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.add(_token(process))
            except psutil.Error:  # it ended while we looked
                continue
        return found - {""}


def _token(process: psutil.Process) -> str:
    """Return the token that a living process carries, or ""."""
    try:
        return process.environ().get(VARIABLE, "")
    except psutil.AccessDenied:  # another user's
        return ""
    except psutil.NoSuchProcess:  # said of the kernel's own threads, too: they have none
        if not _lives(process):
            raise
        return ""


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
