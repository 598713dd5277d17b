"""Hold quotas with control groups: a group per life, which its body enters before anything else.

The body joins by itself before it executes anything, so all it ever uses is charged there:
`<own group>/psup-<uid>/<scope>/<pipeline>/<segment>.<incarnation>`.
Read next: `cgroup_place.py` (where that is), `cgroup_versions.py` (what is written there),
`rlimit_limiter.py` (for nodes where none of it is possible).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Protocol

from supervisor.adapters.cgroup_files import count_open_files, pids_below, subfolders
from supervisor.adapters.cgroup_versions import (
    Hierarchy,
    kill_until_empty,
    make_group,
    members,
    remove_group,
)
from supervisor.core.spec import Criticality, Path, SegmentSpec
from supervisor.runtime.ports import Entry, Json, Usage
from supervisor.runtime.quota_words import declared, word

NICE = {Criticality.BEST_EFFORT: 5, Criticality.NORMAL: 0, Criticality.CRITICAL: 0}
OOM_SCORE = {Criticality.BEST_EFFORT: 800, Criticality.NORMAL: 300, Criticality.CRITICAL: -500}
HELD_BY_KERNEL = frozenset({"memory", "cpu", "processes", "open_files"})
SAMPLED = frozenset({"disk", "time", "log"})


def holds(quota: str) -> str:
    """Return how a quota is held where there are control groups: "kernel", "sampled" or "none".

    >>> holds("memory"), holds("disk_bytes"), holds("gpus")
    ('kernel', 'sampled', 'none')
    """
    name = word(quota)
    return "kernel" if name in HELD_BY_KERNEL else "sampled" if name in SAMPLED else "none"


class CgroupLimiter:
    """Makes a group per life.

    Args:
        hierarchy: where groups can be made, from `find_hierarchy`.
        scope: keeps apart what different homes of the same user run under the same name.
    """

    def __init__(self, hierarchy: Hierarchy, *, scope: str) -> None:
        self._hierarchy = hierarchy
        self._top = f"psup-{os.getuid()}/{scope}"

    @property
    def mode(self) -> str:
        """Which version."""
        return self._hierarchy.mode

    def holds(self, quota: str) -> str:
        """Return how this node would hold that quota."""
        return holds(quota)

    def enclose(
        self, path: Path, incarnation: int, spec: SegmentSpec, token: str
    ) -> CgroupEnclosure:
        """Make the groups of one life, after ending what an earlier life of the path left.

        Raises:
            OSError: a group could not be made or a limit could not be written.
            TimeoutError: processes of an earlier life cannot be killed.
        """
        del token  # groups need no mark
        pipeline, _, segment = path.partition("/")
        stem = segment.replace("/", ".")
        self._remove(self._groups(pipeline, lambda own, _number: own == stem))
        name = f"{self._top}/{pipeline}/{stem}.{incarnation}"
        make_group(self._hierarchy, name)
        enclosure = CgroupEnclosure(self._hierarchy, name, spec)
        try:
            self._hierarchy.limit(name, spec)
            enclosure.arm()
        except OSError:
            enclosure.remove()
            raise
        return enclosure

    def sweep(self, pipeline: str, keep: Mapping[Path, int]) -> Sequence[str]:
        """Kill and remove every group of the pipeline that belongs to no life in `keep`."""
        kept = {(path.partition("/")[2].replace("/", "."), number) for path, number in keep.items()}
        removed = self._remove(
            self._groups(pipeline, lambda stem, number: (stem, number) not in kept)
        )
        for folder in self._hierarchy.folders(f"{self._top}/{pipeline}"):
            for empty in (folder, folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):  # in use, or already gone
                    empty.rmdir()
        return removed

    def lives(self) -> Sequence[tuple[str, str]]:
        """Return the pipeline and the name of every group of a life that is there."""
        tops = self._hierarchy.folders(self._top)
        pipelines = [pipeline for top in tops for pipeline in subfolders(top)]
        return sorted({(one.name, group.name) for one in pipelines for group in subfolders(one)})

    def _groups(self, pipeline: str, chosen: _Choice) -> list[str]:
        """Return the names of the groups of a pipeline that are chosen."""
        found = set()
        for folder in self._hierarchy.folders(f"{self._top}/{pipeline}"):
            for group in subfolders(folder):
                stem, _, number = group.name.rpartition(".")
                if number.isdecimal() and chosen(stem, int(number)):
                    found.add(f"{self._top}/{pipeline}/{group.name}")
        return sorted(found)

    def _remove(self, names: Iterable[str]) -> list[str]:
        removed = []
        for name in names:
            kill_until_empty(self._hierarchy, name)
            remove_group(self._hierarchy, name)
            removed.append(name)
        return removed


class _Choice(Protocol):
    def __call__(self, stem: str, number: int, /) -> bool: ...


@dataclass(slots=True)
class CgroupEnclosure:
    """The groups of one life."""

    _hierarchy: Hierarchy
    name: str
    _spec: SegmentSpec
    _oom_fd: int | None = None

    def arm(self) -> None:
        """Ask to hear of out-of-memory events."""
        self._oom_fd = self._hierarchy.open_oom_event(self.name)

    @property
    def entry(self) -> Entry:
        """Join every group; the number of open files is a limit of the process itself."""
        quota, rlimits = self._spec.quota, {}
        if quota.open_files is not None:
            rlimits["RLIMIT_NOFILE"] = quota.open_files
        if quota.disk_bytes is not None:
            rlimits["RLIMIT_FSIZE"] = quota.disk_bytes
        return Entry(
            join=[str(folder / self._hierarchy.door) for folder in self._folders],
            rlimits=rlimits,
            nice=NICE[self._spec.criticality],
            oom_score_adj=OOM_SCORE[self._spec.criticality],
        )

    @property
    def _folders(self) -> Sequence[FilePath]:
        return self._hierarchy.folders(self.name)

    @property
    def enforcement(self) -> Mapping[str, str]:
        """Return how each declared quota is held."""
        return {name: holds(name) for name in declared(self._spec.quota)}

    def usage(self, body_pid: int) -> Usage:
        """Read the kernel's counters, and count open files process by process."""
        measured = self._hierarchy.usage(self.name)
        del body_pid
        somewhere = self._folders[0]
        open_files = sum(count_open_files(pid) for pid in pids_below(somewhere))
        return Usage(
            measured.memory_bytes,
            measured.peak_memory_bytes,
            measured.cpu_s,
            measured.processes,
            open_files,
        )

    def adjust(self, spec: SegmentSpec) -> None:
        """Change memory, cpu and processes; all else was given to the body on its way in."""
        self._hierarchy.adjust(self.name, spec.quota)
        self._spec = spec

    def breach(self, usage: Usage) -> str | None:
        """Return None: the kernel holds all that this enclosure could look at."""
        del usage
        return None

    def oom_kills(self) -> int:
        """Return the kernel's own count."""
        return self._hierarchy.oom_kills(self.name)

    def oom_event_fd(self) -> int | None:
        """Return the eventfd of version 1; version 2 needs none."""
        return self._oom_fd

    def counters(self) -> Json:
        """Return how often allocations and forks met their limit."""
        return self._hierarchy.counters(self.name)

    def pids(self, body_pid: int) -> Sequence[int]:
        """Return the members of the groups, wherever they hid."""
        del body_pid
        return sorted(members(self._hierarchy, self.name))

    def kill_all(self, body_pid: int) -> None:
        """Kill until the groups are empty."""
        del body_pid
        kill_until_empty(self._hierarchy, self.name)

    def remove(self) -> None:
        """Remove the groups and close the event."""
        if self._oom_fd is not None:
            os.close(self._oom_fd)
            self._oom_fd = None
        remove_group(self._hierarchy, self.name)
