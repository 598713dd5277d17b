"""Where this process may make control groups: below its own, so that no limit around us is escaped.

Rights are tried, never read from modes: a group is made, limited and removed again. Version 2 goes
first; a machine may have both mounted, with the controllers in one of them.
Read next: `cgroup_versions.py`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from supervisor.adapters.cgroup_files import pids_in, write
from supervisor.adapters.cgroup_versions import (
    Hierarchy,
    Version1,
    Version2,
    make_group,
    remove_group,
)
from supervisor.core.spec import Quota, SegmentSpec
from supervisor.errors import QuotaUnenforceable

HOST_LEAF = "psup-host"


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
        write(root / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(needed)))
    return Version2(root)


def _make_room_for_children(root: FilePath) -> None:
    """Move everybody into a leaf: a group that limits its children may hold no process itself."""
    if not (root / "cgroup.type").exists():  # the real root is free of that rule
        return
    leaf = root / HOST_LEAF
    leaf.mkdir(exist_ok=True)
    for pid in pids_in(root):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            write(leaf / "cgroup.procs", pid)


def _prove(hierarchy: Hierarchy) -> None:
    """Make a group, set limits, and remove it: rights are tried, not read from modes."""
    name = f"psup-{os.getuid()}/probe-{os.getpid()}-{time.monotonic_ns()}.0"
    try:
        make_group(hierarchy, name)
        quota = Quota(memory_bytes=1 << 30, cpu_cores=1.0, processes=64)
        hierarchy.limit(name, SegmentSpec(name="probe", quota=quota))
        hierarchy.usage(name)
    finally:
        remove_group(hierarchy, name)
