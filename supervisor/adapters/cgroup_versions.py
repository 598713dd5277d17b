"""What the two versions of control groups have in common, and where they differ.

A group of ours has a name, relative to where we may make groups; in version 1 it is several
folders, one per place where a controller is mounted. Nothing here decides which quota applies to
whom. Read next: `cgroup_place.py` (where we may make groups), `cgroup_limiter.py` (for whom).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Protocol

from supervisor.adapters.cgroup_files import (
    fields,
    inner_folders,
    kill_members,
    number,
    pids_below,
    remove_folder,
    write,
)
from supervisor.core.spec import Criticality, Quota, SegmentSpec
from supervisor.runtime.ports import Usage

CPU_PERIOD_US = 100_000
SMALLEST_CPU_QUOTA_US = 1_000
CPU_SHARES = {Criticality.BEST_EFFORT: 256, Criticality.NORMAL: 1024, Criticality.CRITICAL: 4096}
CPU_WEIGHT = {Criticality.BEST_EFFORT: 25, Criticality.NORMAL: 100, Criticality.CRITICAL: 400}
KILL_TIMEOUT_S = 5.0
KILL_CHECK_S = 0.002
MAKE_ATTEMPTS = 10


class Hierarchy(Protocol):
    """What differs between the two versions of control groups."""

    mode: str
    door: str
    """The file of each folder that a process of one thread writes 0 to, to enter."""

    def folders(self, name: str) -> Sequence[FilePath]:
        """Return every folder that makes up one group of ours."""

    def limit(self, name: str, spec: SegmentSpec) -> None:
        """Write the quotas of a group that was just made."""

    def adjust(self, name: str, quota: Quota) -> None:
        """Write other quotas of a group in which something lives; OSError if one is refused."""

    def usage(self, name: str) -> Usage:
        """Read the counters of a group."""

    def oom_kills(self, name: str) -> int:
        """Return how many processes of a group the kernel killed for memory."""

    def counters(self, name: str) -> dict[str, int]:
        """Return other counts that explain an end."""

    def open_oom_event(self, name: str) -> int | None:
        """Return a descriptor that becomes readable at an out-of-memory event, or None."""

    def kill(self, name: str) -> None:
        """Kill everything in a group once, and let nothing new begin in it where possible."""


class Version1:
    """Separate hierarchies per controller, each mounted in a place of its own.

    Args:
        roots: controller -> folder of the group this process lives in; memory, cpu, cpuacct, pids.
    """

    mode = "cgroup1"
    # Moving one thread, itself, needs no lock on all processes of the system, for which
    # `cgroup.procs` waits 10 ms; the way in has no other thread.
    door = "tasks"

    def __init__(self, roots: Mapping[str, FilePath]) -> None:
        self._roots = dict(roots)

    def folders(self, name: str) -> Sequence[FilePath]:
        """Return one folder per place where controllers are mounted."""
        return [root / name for root in dict.fromkeys(self._roots.values())]

    def limit(self, name: str, spec: SegmentSpec) -> None:
        """Write memory, cpu and pids limits; swap counts as memory where that is compiled in."""
        quota = spec.quota
        memory, cpu = self._at("memory", name), self._at("cpu", name)
        if quota.memory_bytes is not None:
            write(memory / "memory.limit_in_bytes", quota.memory_bytes)
            if (memory / "memory.memsw.limit_in_bytes").exists():
                write(memory / "memory.memsw.limit_in_bytes", quota.memory_bytes)
        write(cpu / "cpu.shares", CPU_SHARES[spec.criticality])
        if quota.cpu_cores is not None:
            write(cpu / "cpu.cfs_period_us", CPU_PERIOD_US)
            write(cpu / "cpu.cfs_quota_us", _cpu_quota_us(quota.cpu_cores))
        if quota.processes is not None:
            write(self._at("pids", name) / "pids.max", quota.processes)

    def adjust(self, name: str, quota: Quota) -> None:
        """Write other memory, cpu and pids limits; the larger of memory and swap goes first."""
        memory, cpu = self._at("memory", name), self._at("cpu", name)
        limit_bytes = -1 if quota.memory_bytes is None else quota.memory_bytes
        files = [memory / "memory.limit_in_bytes", memory / "memory.memsw.limit_in_bytes"]
        if limit_bytes < 0 or limit_bytes > number(files[0]):
            files.reverse()
        for file in files:
            if file.exists():
                write(file, limit_bytes)
        write(cpu / "cpu.cfs_period_us", CPU_PERIOD_US)
        quota_us = -1 if quota.cpu_cores is None else _cpu_quota_us(quota.cpu_cores)
        write(cpu / "cpu.cfs_quota_us", quota_us)
        processes = "max" if quota.processes is None else quota.processes
        write(self._at("pids", name) / "pids.max", processes)

    def usage(self, name: str) -> Usage:
        """Read the counters; file cache that the kernel would drop first is no use of memory."""
        memory = self._at("memory", name)
        cache = fields(memory / "memory.stat").get("total_inactive_file", 0)
        return Usage(
            memory_bytes=max(0, number(memory / "memory.usage_in_bytes") - cache),
            peak_memory_bytes=number(memory / "memory.max_usage_in_bytes"),
            cpu_s=number(self._at("cpuacct", name) / "cpuacct.usage") / 1e9,
            processes=number(self._at("pids", name) / "pids.current"),
        )

    def oom_kills(self, name: str) -> int:
        """Return the kernel's own count."""
        return fields(self._at("memory", name) / "memory.oom_control").get("oom_kill", 0)

    def counters(self, name: str) -> dict[str, int]:
        """Return how often an allocation, and how often a fork, met the limit."""
        return {
            "memory_failcnt": number(self._at("memory", name) / "memory.failcnt"),
            "refused_forks": fields(self._at("pids", name) / "pids.events").get("max", 0),
        }

    def open_oom_event(self, name: str) -> int | None:
        """Ask the kernel to raise an eventfd when this group runs out of memory."""
        memory = self._at("memory", name)
        event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        control_fd = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(memory / "cgroup.event_control", f"{event_fd} {control_fd}")
        except OSError:
            os.close(event_fd)
            raise
        finally:
            os.close(control_fd)
        return event_fd

    def kill(self, name: str) -> None:
        """Forbid forks first, so that one pass over the members is enough."""
        write(self._at("pids", name) / "pids.max", 0)
        for folder in self.folders(name):
            kill_members(folder)

    def _at(self, controller: str, name: str) -> FilePath:
        return self._roots[controller] / name


class Version2:
    """The unified hierarchy: one folder per group.

    Args:
        root: a group whose memory, cpu and pids controllers are enabled for its children.
    """

    mode = "cgroup2"
    door = "cgroup.procs"

    def __init__(self, root: FilePath) -> None:
        self._root = root

    def folders(self, name: str) -> Sequence[FilePath]:
        """Return the one folder."""
        return [self._root / name]

    def limit(self, name: str, spec: SegmentSpec) -> None:
        """Write the limits; out of memory ends the whole group, and nothing is swapped."""
        folder, quota = self._root / name, spec.quota
        write(folder / "memory.oom.group", 1)
        if quota.memory_bytes is not None:
            write(folder / "memory.max", quota.memory_bytes)
            if (folder / "memory.swap.max").exists():
                write(folder / "memory.swap.max", 0)
        write(folder / "cpu.weight", CPU_WEIGHT[spec.criticality])
        if quota.cpu_cores is not None:
            write(folder / "cpu.max", f"{_cpu_quota_us(quota.cpu_cores)} {CPU_PERIOD_US}")
        if quota.processes is not None:
            write(folder / "pids.max", quota.processes)

    def adjust(self, name: str, quota: Quota) -> None:
        """Write other limits; less memory than is in use is refused, not taken by killing."""
        folder = self._root / name
        if quota.memory_bytes is not None:
            in_use = self.usage(name).memory_bytes or 0
            if in_use > quota.memory_bytes:
                raise OSError(errno.EBUSY, f"{in_use} bytes are in use", str(folder / "memory.max"))
        write(folder / "memory.max", "max" if quota.memory_bytes is None else quota.memory_bytes)
        cores = quota.cpu_cores
        quota_us = "max" if cores is None else str(_cpu_quota_us(cores))
        write(folder / "cpu.max", f"{quota_us} {CPU_PERIOD_US}")
        write(folder / "pids.max", "max" if quota.processes is None else quota.processes)

    def usage(self, name: str) -> Usage:
        """Read the counters; `memory.peak` is there since Linux 5.19."""
        folder = self._root / name
        cache = fields(folder / "memory.stat").get("inactive_file", 0)
        peak = folder / "memory.peak"
        return Usage(
            memory_bytes=max(0, number(folder / "memory.current") - cache),
            peak_memory_bytes=number(peak) if peak.exists() else None,
            cpu_s=fields(folder / "cpu.stat").get("usage_usec", 0) / 1e6,
            processes=number(folder / "pids.current"),
        )

    def oom_kills(self, name: str) -> int:
        """Return the kernel's own count."""
        return fields(self._root / name / "memory.events").get("oom_kill", 0)

    def counters(self, name: str) -> dict[str, int]:
        """Return how often an allocation, and how often a fork, met the limit."""
        folder = self._root / name
        return {
            "memory_failcnt": fields(folder / "memory.events").get("max", 0),
            "refused_forks": fields(folder / "pids.events").get("max", 0),
        }

    def open_oom_event(self, _name: str) -> int | None:
        """None: `memory.oom.group` ends the whole life, which is noticed as any other end."""
        return None

    def kill(self, name: str) -> None:
        """Use `cgroup.kill`, which forks cannot outrun; member by member before Linux 5.14."""
        folder = self._root / name
        if (folder / "cgroup.kill").exists():
            write(folder / "cgroup.kill", 1)
        else:
            write(folder / "pids.max", 0)
            kill_members(folder)


def members(hierarchy: Hierarchy, name: str) -> set[int]:
    """Return every process of a group, of groups inside it, and of any part of it."""
    pids: set[int] = set()
    for folder in hierarchy.folders(name):
        pids.update(pids_below(folder))
    return pids


def kill_until_empty(hierarchy: Hierarchy, name: str) -> None:
    """Kill until no process is left; TimeoutError when some are stuck in the kernel."""
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while members(hierarchy, name):
        hierarchy.kill(name)
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"processes in {name} outlive SIGKILL")
        time.sleep(KILL_CHECK_S)


def make_group(hierarchy: Hierarchy, name: str) -> None:
    """Make a new group; its parents may be swept away as empty while this happens."""
    for folder in hierarchy.folders(name):
        for attempts_left in reversed(range(MAKE_ATTEMPTS)):
            try:
                folder.mkdir(parents=True)
                break
            except FileNotFoundError:
                if not attempts_left:
                    raise


def remove_group(hierarchy: Hierarchy, name: str) -> None:
    """Remove a group with what a body may have made inside it; a removed one is fine."""
    for folder in hierarchy.folders(name):
        for inner in [*inner_folders(folder), folder]:
            with contextlib.suppress(FileNotFoundError):
                remove_folder(inner)


def _cpu_quota_us(cores: float) -> int:
    return max(SMALLEST_CPU_QUOTA_US, round(cores * CPU_PERIOD_US))
