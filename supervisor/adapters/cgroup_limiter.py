"""Hold quotas with control groups, version 1 or 2: the only file that touches /sys/fs/cgroup.

Every life gets groups of its own, below the group this process lives in, so that nothing here can
escape a limit set around us: `<own group>/psup-<uid>/<scope>/<pipeline>/<segment>.<incarnation>`.
The body enters them by itself before it executes anything, so all it ever uses is charged there.
Whether we may do this is never guessed: `find_hierarchy` makes a group and removes it again.
Read next: `rlimit_limiter.py`, for nodes where this is not possible.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Protocol

from supervisor.core.spec import Criticality, Path, Quota, SegmentSpec
from supervisor.errors import QuotaUnenforceable
from supervisor.runtime.ports import Entry, Json, Usage
from supervisor.runtime.quota_words import declared, word

CPU_PERIOD_US = 100_000
SMALLEST_CPU_QUOTA_US = 1_000
CPU_SHARES = {Criticality.BEST_EFFORT: 256, Criticality.NORMAL: 1024, Criticality.CRITICAL: 4096}
CPU_WEIGHT = {Criticality.BEST_EFFORT: 25, Criticality.NORMAL: 100, Criticality.CRITICAL: 400}
NICE = {Criticality.BEST_EFFORT: 5, Criticality.NORMAL: 0, Criticality.CRITICAL: 0}
OOM_SCORE = {Criticality.BEST_EFFORT: 800, Criticality.NORMAL: 300, Criticality.CRITICAL: -500}
KILL_TIMEOUT_S = 5.0
KILL_CHECK_S = 0.002
LINKS_OF_A_LEAF = 2
MAKE_ATTEMPTS = 10
HOST_LEAF = "psup-host"
HELD_BY_KERNEL = frozenset({"memory", "cpu", "processes", "open_files"})
SAMPLED = frozenset({"disk", "time", "log"})


def holds(quota: str) -> str:
    """Return how a quota is held where there are control groups: "kernel", "sampled" or "none".

    >>> holds("memory"), holds("disk_bytes"), holds("gpus")
    ('kernel', 'sampled', 'none')
    """
    name = word(quota)
    return "kernel" if name in HELD_BY_KERNEL else "sampled" if name in SAMPLED else "none"


# -------------------------------------------------------------------------------------- hierarchies


class Hierarchy(Protocol):
    """What differs between the two versions of control groups."""

    mode: str

    def folders(self, name: str) -> Sequence[FilePath]:
        """Return every folder that makes up one group of ours."""

    def limit(self, name: str, spec: SegmentSpec) -> None:
        """Write the quotas of a group that was just made."""

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
            _write(memory / "memory.limit_in_bytes", quota.memory_bytes)
            if (memory / "memory.memsw.limit_in_bytes").exists():
                _write(memory / "memory.memsw.limit_in_bytes", quota.memory_bytes)
        _write(cpu / "cpu.shares", CPU_SHARES[spec.criticality])
        if quota.cpu_cores is not None:
            _write(cpu / "cpu.cfs_period_us", CPU_PERIOD_US)
            _write(cpu / "cpu.cfs_quota_us", _cpu_quota_us(quota.cpu_cores))
        if quota.processes is not None:
            _write(self._at("pids", name) / "pids.max", quota.processes)

    def usage(self, name: str) -> Usage:
        """Read the counters; file cache that the kernel would drop first is no use of memory."""
        memory = self._at("memory", name)
        cache = _fields(memory / "memory.stat").get("total_inactive_file", 0)
        return Usage(
            memory_bytes=max(0, _number(memory / "memory.usage_in_bytes") - cache),
            peak_memory_bytes=_number(memory / "memory.max_usage_in_bytes"),
            cpu_s=_number(self._at("cpuacct", name) / "cpuacct.usage") / 1e9,
            processes=_number(self._at("pids", name) / "pids.current"),
        )

    def oom_kills(self, name: str) -> int:
        """Return the kernel's own count."""
        return _fields(self._at("memory", name) / "memory.oom_control").get("oom_kill", 0)

    def counters(self, name: str) -> dict[str, int]:
        """Return how often an allocation, and how often a fork, met the limit."""
        return {
            "memory_failcnt": _number(self._at("memory", name) / "memory.failcnt"),
            "refused_forks": _fields(self._at("pids", name) / "pids.events").get("max", 0),
        }

    def open_oom_event(self, name: str) -> int | None:
        """Ask the kernel to raise an eventfd when this group runs out of memory."""
        memory = self._at("memory", name)
        event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        control_fd = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(memory / "cgroup.event_control", f"{event_fd} {control_fd}")
        except OSError:
            os.close(event_fd)
            raise
        finally:
            os.close(control_fd)
        return event_fd

    def kill(self, name: str) -> None:
        """Forbid forks first, so that one pass over the members is enough."""
        _write(self._at("pids", name) / "pids.max", 0)
        for folder in self.folders(name):
            _signal_members(folder)

    def _at(self, controller: str, name: str) -> FilePath:
        return self._roots[controller] / name


class Version2:
    """The unified hierarchy: one folder per group.

    Args:
        root: a group whose memory, cpu and pids controllers are enabled for its children.
    """

    mode = "cgroup2"

    def __init__(self, root: FilePath) -> None:
        self._root = root

    def folders(self, name: str) -> Sequence[FilePath]:
        """Return the one folder."""
        return [self._root / name]

    def limit(self, name: str, spec: SegmentSpec) -> None:
        """Write the limits; out of memory ends the whole group, and nothing is swapped."""
        folder, quota = self._root / name, spec.quota
        _write(folder / "memory.oom.group", 1)
        if quota.memory_bytes is not None:
            _write(folder / "memory.max", quota.memory_bytes)
            if (folder / "memory.swap.max").exists():
                _write(folder / "memory.swap.max", 0)
        _write(folder / "cpu.weight", CPU_WEIGHT[spec.criticality])
        if quota.cpu_cores is not None:
            _write(folder / "cpu.max", f"{_cpu_quota_us(quota.cpu_cores)} {CPU_PERIOD_US}")
        if quota.processes is not None:
            _write(folder / "pids.max", quota.processes)

    def usage(self, name: str) -> Usage:
        """Read the counters; `memory.peak` is there since Linux 5.19."""
        folder = self._root / name
        cache = _fields(folder / "memory.stat").get("inactive_file", 0)
        peak = folder / "memory.peak"
        return Usage(
            memory_bytes=max(0, _number(folder / "memory.current") - cache),
            peak_memory_bytes=_number(peak) if peak.exists() else None,
            cpu_s=_fields(folder / "cpu.stat").get("usage_usec", 0) / 1e6,
            processes=_number(folder / "pids.current"),
        )

    def oom_kills(self, name: str) -> int:
        """Return the kernel's own count."""
        return _fields(self._root / name / "memory.events").get("oom_kill", 0)

    def counters(self, name: str) -> dict[str, int]:
        """Return how often an allocation, and how often a fork, met the limit."""
        folder = self._root / name
        return {
            "memory_failcnt": _fields(folder / "memory.events").get("max", 0),
            "refused_forks": _fields(folder / "pids.events").get("max", 0),
        }

    def open_oom_event(self, _name: str) -> int | None:
        """None: `memory.oom.group` ends the whole life, which is noticed as any other end."""
        return None

    def kill(self, name: str) -> None:
        """Use `cgroup.kill`, which forks cannot outrun; member by member before Linux 5.14."""
        folder = self._root / name
        if (folder / "cgroup.kill").exists():
            _write(folder / "cgroup.kill", 1)
        else:
            _write(folder / "pids.max", 0)
            _signal_members(folder)


# ------------------------------------------------------------------------------------------ limiter


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
        _make_folders(self._hierarchy, name)
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

    def _groups(self, pipeline: str, chosen: _Choice) -> list[str]:
        """Return the names of the groups of a pipeline that are chosen."""
        found = set()
        for folder in self._hierarchy.folders(f"{self._top}/{pipeline}"):
            for group in _subfolders(folder):
                stem, _, number = group.name.rpartition(".")
                if number.isdecimal() and chosen(stem, int(number)):
                    found.add(f"{self._top}/{pipeline}/{group.name}")
        return sorted(found)

    def _remove(self, names: Iterable[str]) -> list[str]:
        removed = []
        for name in names:
            _kill_until_empty(self._hierarchy, name)
            _remove_folders(self._hierarchy, name)
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
            join=[str(folder / "cgroup.procs") for folder in self._hierarchy.folders(self.name)],
            rlimits=rlimits,
            nice=NICE[self._spec.criticality],
            oom_score_adj=OOM_SCORE[self._spec.criticality],
        )

    @property
    def enforcement(self) -> Mapping[str, str]:
        """Return how each declared quota is held."""
        return {name: holds(name) for name in declared(self._spec.quota)}

    def usage(self, body_pid: int) -> Usage:
        """Read the kernel's counters, and count open files process by process."""
        measured = self._hierarchy.usage(self.name)
        del body_pid
        somewhere = self._hierarchy.folders(self.name)[0]
        open_files = sum(_open_files(pid) for pid in _pids_below(somewhere))
        return Usage(
            measured.memory_bytes,
            measured.peak_memory_bytes,
            measured.cpu_s,
            measured.processes,
            open_files,
        )

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
        return sorted(_members(self._hierarchy, self.name))

    def kill_all(self, body_pid: int) -> None:
        """Kill until the groups are empty."""
        del body_pid
        _kill_until_empty(self._hierarchy, self.name)

    def remove(self) -> None:
        """Remove the groups and close the event."""
        if self._oom_fd is not None:
            os.close(self._oom_fd)
            self._oom_fd = None
        _remove_folders(self._hierarchy, self.name)


# ------------------------------------------------------------------------------- finding our place


def find_hierarchy(
    *, cgroup_file: str = "/proc/self/cgroup", mountinfo_file: str = "/proc/self/mountinfo"
) -> Hierarchy:
    """Return where this process may make groups with all needed controllers.

    Raises:
        QuotaUnenforceable: there is no such place; the message says what was missing.
    """
    own = _own_groups(FilePath(cgroup_file).read_text())
    mounts = list(_mounts(FilePath(mountinfo_file).read_text()))
    obstacles = []
    for attempt in (_find_version2, _find_version1):
        try:
            hierarchy = attempt(own, mounts)
            _prove(hierarchy)
        except (OSError, QuotaUnenforceable) as error:
            obstacles.append(str(error))
        else:
            return hierarchy
    raise QuotaUnenforceable(
        f"no writable control groups: {'; '.join(obstacles)}",
        hint="run as root, or in a delegated unit: systemd-run --user --scope -p Delegate=yes",
    )


@dataclass(frozen=True, slots=True)
class _Mount:
    """One mounted hierarchy: where, of which part, and which controllers (none: version 2)."""

    point: FilePath
    root: str
    controllers: frozenset[str]
    version: int

    def group(self, own: str) -> FilePath:
        """Return the folder of the group `own`, which counts from the hierarchy's real root."""
        inside = own.removeprefix(self.root) if self.root != "/" else own
        return self.point / inside.lstrip("/")


def _own_groups(text: str) -> dict[str, str]:
    """Return controller -> own group; the unified hierarchy stands under ""."""
    own = {}
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), group))
    return own


def _mounts(text: str) -> Iterator[_Mount]:
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _source, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _id, _parent, _device, root, point = left.split(" ")[:5]
            version = 2 if kind == "cgroup2" else 1
            yield _Mount(FilePath(point), root, frozenset(options.split(",")), version)


def _find_version1(own: Mapping[str, str], mounts: Sequence[_Mount]) -> Hierarchy:
    roots = {}
    for controller in ("memory", "cpu", "cpuacct", "pids"):
        mount = next((m for m in mounts if m.version == 1 and controller in m.controllers), None)
        if mount is None:
            raise QuotaUnenforceable(f"version 1 has no {controller} controller here")
        roots[controller] = mount.group(own.get(controller, "/"))
    return Version1(roots)


def _find_version2(own: Mapping[str, str], mounts: Sequence[_Mount]) -> Hierarchy:
    mount = next((m for m in mounts if m.version == 2), None)
    if mount is None:
        raise QuotaUnenforceable("version 2 is not mounted")
    root = mount.group(own.get("", "/"))
    if root.name == HOST_LEAF:  # an earlier process of ours moved us here
        root = root.parent
    needed = {"memory", "cpu", "pids"}
    missing = needed - set((root / "cgroup.controllers").read_text().split())
    if missing:
        raise QuotaUnenforceable(f"version 2 has no {', '.join(sorted(missing))} controller here")
    if needed - set((root / "cgroup.subtree_control").read_text().split()):
        _make_room_for_children(root)
        _write(root / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(needed)))
    return Version2(root)


def _make_room_for_children(root: FilePath) -> None:
    """Move everybody into a leaf: a group that limits its children may hold no process itself."""
    if not (root / "cgroup.type").exists():  # the real root is free of that rule
        return
    leaf = root / HOST_LEAF
    leaf.mkdir(exist_ok=True)
    for pid in _pids_in(root):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            _write(leaf / "cgroup.procs", pid)


def _prove(hierarchy: Hierarchy) -> None:
    """Make a group, set limits, and remove it: rights are tried, not read from modes."""
    name = f"psup-{os.getuid()}/probe-{os.getpid()}-{time.monotonic_ns()}.0"
    try:
        _make_folders(hierarchy, name)
        quota = Quota(memory_bytes=1 << 30, cpu_cores=1.0, processes=64)
        hierarchy.limit(name, SegmentSpec(name="probe", quota=quota))
        hierarchy.usage(name)
    finally:
        _remove_folders(hierarchy, name)


# ------------------------------------------------------------------------------------------- files


def _kill_until_empty(hierarchy: Hierarchy, name: str) -> None:
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while _members(hierarchy, name):
        hierarchy.kill(name)
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"processes in {name} outlive SIGKILL")
        time.sleep(KILL_CHECK_S)


def _make_folders(hierarchy: Hierarchy, name: str) -> None:
    """Make a new group; its parents may be swept away as empty while this happens."""
    for folder in hierarchy.folders(name):
        for attempts_left in reversed(range(MAKE_ATTEMPTS)):
            try:
                folder.mkdir(parents=True)
                break
            except FileNotFoundError:
                if not attempts_left:
                    raise


def _remove_folders(hierarchy: Hierarchy, name: str) -> None:
    """Remove a group with what a body may have made inside it; a removed one is fine."""
    for folder in hierarchy.folders(name):
        for inner in [*_inner_folders(folder), folder]:
            with contextlib.suppress(FileNotFoundError):
                _remove_folder(inner)


def _remove_folder(folder: FilePath) -> None:
    """Remove one folder; the kernel may need a moment after the last process has gone."""
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while True:
        try:
            folder.rmdir()
        except OSError as error:
            if isinstance(error, FileNotFoundError) or time.monotonic() > deadline_s:
                raise
            time.sleep(KILL_CHECK_S)
        else:
            return


def _inner_folders(folder: FilePath) -> list[FilePath]:
    """Return all folders below, deepest first; a body may have made some."""
    if folder.exists() and folder.stat().st_nlink == LINKS_OF_A_LEAF:  # nearly always; and cheap
        return []
    return [
        FilePath(top) / name for top, names, _ in os.walk(folder, topdown=False) for name in names
    ]


def _members(hierarchy: Hierarchy, name: str) -> set[int]:
    pids: set[int] = set()
    for folder in hierarchy.folders(name):
        pids.update(_pids_below(folder))
    return pids


def _pids_below(folder: FilePath) -> list[int]:
    return [pid for place in (folder, *_inner_folders(folder)) for pid in _pids_in(place)]


def _signal_members(folder: FilePath) -> None:
    for pid in _pids_below(folder):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, signal.SIGKILL)


def _pids_in(folder: FilePath) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError) as error:
        if isinstance(error, FileNotFoundError) or error.errno == 19:  # ENODEV: just removed
            return []
        raise


def _subfolders(folder: FilePath) -> list[FilePath]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  many times a minute, for ever
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # ended, or not ours to see
        return 0


def _write(file: FilePath, value: int | str) -> None:
    with file.open("w") as opened:
        opened.write(str(value))


def _number(file: FilePath) -> int:
    return int(file.read_text())


def _fields(file: FilePath) -> dict[str, int]:
    """Read a file of `name value` lines."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _cpu_quota_us(cores: float) -> int:
    return max(SMALLEST_CPU_QUOTA_US, round(cores * CPU_PERIOD_US))
