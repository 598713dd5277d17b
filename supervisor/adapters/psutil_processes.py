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
SCAN_S = 30.0
"""How long a stranger's pid is passed over: long enough to be cheap, far too short for a system to
use up its pids and give that one to a process of ours."""
MOST_KNOWN = 8192


class Tokens:
    """Reads tokens out of environments, each process's once: reading is dear and they stay."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, float], str] = {}

    def of(self, process: psutil.Process) -> str:
        """Return the token that a process carries, or ""; raises psutil.NoSuchProcess."""
        identity = (process.pid, process.create_time())
        known = self._known.get(identity)
        if known is not None:
            return known
        try:
            token = process.environ().get(VARIABLE, "")
        except psutil.AccessDenied:  # another user's
            token = ""
        except psutil.NoSuchProcess:  # said of the kernel's own threads, too: they have none
            if not _lives(process):
                raise
            token = ""
        if _settled(process):
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[identity] = token
        return token


class ProcessFamily:
    """The processes of one life, remembered from look to look.

    Args:
        token: the value of `PSUP_TOKEN` that marks them.
        tokens: reads the token of a process.
        spared: pids that are never members, whatever they carry.
    """

    def __init__(self, token: str, tokens: Tokens, spared: AbstractSet[int]) -> None:
        if not token:  # every process that carries none would be a member
            raise ValueError("a family needs the token that marks it")
        self._token = token
        self._spared = spared
        self._tokens = tokens
        self._members: dict[int, psutil.Process] = {}
        self._strangers: set[int] = set()
        self._scanned_s = 0.0

    def find(self, body_pid: int | None) -> Sequence[int]:
        """Look again and return the living members; costs little when no process is new."""
        self._members = {pid: one for pid, one in self._members.items() if _lives(one)}
        present = set(psutil.pids())
        if time.monotonic() - self._scanned_s > SCAN_S:
            self._scanned_s = time.monotonic()
            self._strangers.clear()
        self._strangers &= present
        for pid in sorted(present - self._strangers - self._members.keys()):
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
            if not _lives(process):
                return
            if self._belongs(process, body_pid):
                self._members[pid] = process
            elif _settled(process):
                self._strangers.add(pid)
        except (psutil.Error, ProcessLookupError):  # it ended while we looked
            return

    def _belongs(self, process: psutil.Process, body_pid: int | None) -> bool:
        if process.pid in self._spared:
            return False
        if self._tokens.of(process) == self._token or process.ppid() in self._members:
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
        self._tokens = Tokens()
        me = psutil.Process()
        # A member's children are members: one mistake about these, and everything is ended.
        self._spared = frozenset({1, me.pid, *(parent.pid for parent in me.parents())})

    def family(self, token: str) -> ProcessFamily:
        """Return the processes that carry this token, to be looked for."""
        return ProcessFamily(token, self._tokens, self._spared)

    def tokens(self) -> set[str]:
        """Return every token that some living process carries."""
        found = set()
        for process in psutil.process_iter():
            try:
                if _lives(process):
                    found.add(self._tokens.of(process))
            except psutil.Error:  # it ended while we looked
                continue
        return found - {""}


def _settled(process: psutil.Process) -> bool:
    """Whether a process is old enough to have executed what it was forked for."""
    return time.time() - process.create_time() > SETTLED_S


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
