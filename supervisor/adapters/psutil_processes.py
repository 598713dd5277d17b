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

import psutil

TOKEN_VARIABLE = "PSUP_TOKEN"  # noqa: S105  a mark, no secret
SETTLED_S = 1.0


class ProcessFamily:
    """The processes of one life, remembered from look to look.

    Args:
        token: the value of `PSUP_TOKEN` that marks them.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._members: dict[int, psutil.Process] = {}
        self._strangers: dict[int, float] = {}

    def find(self, body_pid: int) -> Sequence[int]:
        """Look again and return the living members; costs little when no process is new."""
        present = psutil.pids()
        self._members = {pid: one for pid, one in self._members.items() if _lives(one)}
        self._strangers = {pid: self._strangers[pid] for pid in present if pid in self._strangers}
        for pid in present:
            if pid not in self._members:
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

    def _consider(self, pid: int, body_pid: int) -> None:
        try:
            process = psutil.Process(pid)
            born_s = process.create_time()
            if self._strangers.get(pid) == born_s or not _lives(process):
                return
            if self._belongs(process, body_pid):
                self._members[pid] = process
            elif time.time() - born_s > SETTLED_S:  # before, it may not have become itself yet
                self._strangers[pid] = born_s
        except (psutil.Error, ProcessLookupError):  # it ended while we looked
            return

    def _belongs(self, process: psutil.Process, body_pid: int) -> bool:
        if process.pid == body_pid or process.ppid() in self._members:
            return True
        if os.getsid(process.pid) == body_pid:
            return True
        try:
            return process.environ().get(TOKEN_VARIABLE) == self._token
        except psutil.AccessDenied:  # another user's
            return False

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

    def family(self, token: str) -> ProcessFamily:
        """Return the processes that carry this token, to be looked for."""
        return ProcessFamily(token)

    def tokens(self) -> set[str]:
        """Return every token that some living process carries."""
        found = set()
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.environ().get(TOKEN_VARIABLE, ""))
            except psutil.Error:  # ended, or another user's
                continue
        return found - {""}


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
