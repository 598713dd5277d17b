"""Hold quotas without control groups: limits of each process, and a quick look at the whole tree.

For nodes where nobody may make groups. Memory is met twice: `RLIMIT_DATA` refuses a single process
what is over the quota, which Python meets as a clean `MemoryError`; the sum over the tree is
sampled, and breached is dead. CPU is only bent (pinned to whole cores, nice): that is not a held
quota, and `holds` says so. Read next: `cgroup_limiter.py`, which is better wherever it works.
"""

from __future__ import annotations

import math
import os
import signal
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from supervisor.core.spec import Criticality, Path, SegmentSpec
from supervisor.runtime.mark import Mark
from supervisor.runtime.ports import Entry, Json, Usage
from supervisor.runtime.quota_words import declared, word

NICE = {Criticality.BEST_EFFORT: 10, Criticality.NORMAL: 2, Criticality.CRITICAL: 0}
OOM_SCORE = {Criticality.BEST_EFFORT: 800, Criticality.NORMAL: 300, Criticality.CRITICAL: 0}
KILL_TIMEOUT_S = 5.0
KILL_CHECK_S = 0.002
SAMPLED = frozenset({"memory", "processes", "disk", "time", "log"})


class Family(Protocol):
    """The processes of one life."""

    def find(self, body_pid: int | None) -> Sequence[int]:
        """Look again and return the pids of the living ones; None if only their mark is known."""

    def resident_bytes(self) -> int:
        """Return an upper bound of the memory of those found last."""

    def proportional_bytes(self) -> int:
        """Return the memory of those found last, shared pages divided."""

    def cpu_s(self) -> float:
        """Return their processor time in seconds."""

    def threads(self) -> int:
        """Return the number of their threads."""

    def open_files(self) -> int:
        """Return the number of their descriptors."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""


class Processes(Protocol):
    """How processes are found."""

    def family(self, token: str) -> Family:
        """Return the processes marked by a token."""

    def tokens(self) -> set[str]:
        """Return the tokens of all living processes."""


class RlimitLimiter:
    """Makes enclosures out of rlimits and sampling.

    Args:
        processes: finds the processes of a life.
        scope: keeps apart what different homes of the same user run under the same name.
    """

    mode = "rlimit"

    def __init__(self, processes: Processes, *, scope: str) -> None:
        self._processes = processes
        self._scope = scope
        self._clean: set[Path] = set()

    def holds(self, quota: str) -> str:
        """Return "kernel" for open files, "sampled" for what is watched, "none" for the rest.

        >>> from supervisor.adapters.psutil_processes import PsutilProcesses
        >>> limiter = RlimitLimiter(PsutilProcesses(), scope="")
        >>> [limiter.holds(quota) for quota in ("memory", "open_files", "cpu")]
        ['sampled', 'kernel', 'none']
        """
        if word(quota) == "open_files":
            return "kernel"
        return "sampled" if word(quota) in SAMPLED else "none"

    def enclose(
        self, path: Path, incarnation: int, spec: SegmentSpec, token: str
    ) -> RlimitEnclosure:
        """Prepare the limits of one life; ends what an earlier cell of this path left behind.

        Raises:
            TimeoutError: processes of an earlier life cannot be killed.
        """
        del incarnation  # the token names it
        if path not in self._clean:  # later lives are ended by the cell that saw them begin
            self._end(mark for mark in self._marks() if mark.path == path)
            self._clean.add(path)
        enforcement = {name: self.holds(name) for name in declared(spec.quota)}
        return RlimitEnclosure(path, spec, self._processes.family(token), enforcement)

    def sweep(self, pipeline: str, keep: Mapping[Path, int]) -> Sequence[str]:
        """Kill every process of the pipeline that belongs to no life in `keep`."""
        return self._end(
            mark
            for mark in self._marks()
            if mark.pipeline == pipeline and keep.get(mark.path) != mark.incarnation
        )

    def _marks(self) -> list[Mark]:
        """Return the marks of this scope that some living process carries."""
        marks = (Mark.parse(token) for token in self._processes.tokens())
        return [mark for mark in marks if mark is not None and mark.scope == self._scope]

    def _end(self, marks: Iterable[Mark]) -> list[str]:
        ended = []
        for mark in marks:
            _kill_until_none(self._processes.family(str(mark)), body_pid=None)
            ended.append(f"{mark.path}#{mark.incarnation}")
        return ended


@dataclass(slots=True)
class RlimitEnclosure:
    """The limits of one life, and the eyes on it."""

    _path: Path
    _spec: SegmentSpec
    _family: Family
    enforcement: Mapping[str, str]
    name: str = "rlimit"
    _peak_bytes: int = 0
    _cpu_s: float = 0.0

    @property
    def entry(self) -> Entry:
        """Every limit that a process can carry by itself."""
        quota = self._spec.quota
        limits = {
            "RLIMIT_DATA": quota.memory_bytes,
            "RLIMIT_NOFILE": quota.open_files,
            "RLIMIT_FSIZE": quota.disk_bytes,
        }
        return Entry(
            rlimits={name: value for name, value in limits.items() if value is not None},
            nice=NICE[self._spec.criticality],
            oom_score_adj=OOM_SCORE[self._spec.criticality],
            cores=_cores(self._path, quota.cpu_cores),
        )

    def usage(self, body_pid: int) -> Usage:
        """Measure the whole tree."""
        family = self._family
        family.find(body_pid)
        memory_bytes = self._memory_bytes()
        self._peak_bytes = max(self._peak_bytes, memory_bytes)
        self._cpu_s = max(self._cpu_s, family.cpu_s())
        return Usage(
            memory_bytes=memory_bytes,
            peak_memory_bytes=self._peak_bytes,
            cpu_s=self._cpu_s,
            processes=family.threads(),
            open_files=family.open_files(),
        )

    def adjust(self, spec: SegmentSpec) -> None:
        """Measure against other quotas; what a process carries itself it carries to its end."""
        self._spec = spec

    def breach(self, usage: Usage) -> str | None:
        """Return the first of memory and processes that is over its quota."""
        quota = self._spec.quota
        if _over(usage.memory_bytes, quota.memory_bytes):
            return "memory"
        if _over(usage.processes, quota.processes):
            return "processes"
        return None

    def oom_kills(self) -> int:
        """Return 0: the kernel counts only in groups."""
        return 0

    def oom_event_fd(self) -> int | None:
        """Return None: the kernel tells only of groups."""
        return None

    def counters(self) -> Json:
        """Return nothing: the kernel counts only in groups."""
        return {}

    def pids(self, body_pid: int) -> Sequence[int]:
        """Return every process of this life."""
        return self._family.find(body_pid)

    def kill_all(self, body_pid: int) -> None:
        """Kill until none is found any more."""
        _kill_until_none(self._family, body_pid)

    def remove(self) -> None:
        """Do nothing: limits go with their processes."""

    def _memory_bytes(self) -> int:
        """Return the tree's memory: the cheap bound while it is under the quota, else exactly."""
        bound_bytes = self._family.resident_bytes()
        quota_bytes = self._spec.quota.memory_bytes
        if quota_bytes is None or bound_bytes <= quota_bytes:
            return bound_bytes
        return self._family.proportional_bytes()


def _kill_until_none(family: Family, body_pid: int | None) -> None:
    """Stop everybody first, so that nobody can fork while others are killed."""
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while family.find(body_pid):
        family.send(signal.SIGSTOP)
        family.find(body_pid)
        family.send(signal.SIGKILL)
        if time.monotonic() > deadline_s:
            raise TimeoutError("processes outlive SIGKILL")
        time.sleep(KILL_CHECK_S)


def _cores(path: Path, cpu_cores: float | None) -> Sequence[int]:
    """Pin to as many cores as the quota has begun; which ones depends on the path, to spread."""
    available = sorted(os.sched_getaffinity(0))
    if cpu_cores is None or cpu_cores >= len(available):
        return ()
    count = max(1, math.ceil(cpu_cores))
    first = zlib.crc32(path.encode()) % len(available)
    return sorted((available * 2)[first : first + count])


def _over(used: int | None, quota: int | None) -> bool:
    return used is not None and quota is not None and used > quota
