"""What a node contributes: picks the limiter where the bodies will run, and builds cells with it.

The composition root of a node, as `cli/` is that of a terminal. `LocalCell` can be named by
reference and constructed in another process, where the choice of limiter is then made.
Read next: `cell/cell.py`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path as FilePath

from supervisor.adapters.cgroup_limiter import CgroupLimiter
from supervisor.adapters.cgroup_place import find_hierarchy
from supervisor.adapters.psutil_processes import PsutilProcesses
from supervisor.adapters.rlimit_limiter import RlimitLimiter
from supervisor.cell import Cell
from supervisor.core.spec import Path, SegmentSpec
from supervisor.errors import QuotaUnenforceable
from supervisor.runtime.ports import Limiter


def make_limiter(*, mode: str | None = None, scope: str | None = None) -> Limiter:
    """Return the strongest limiter that works here; found out by making and removing a group.

    Args:
        mode: "rlimit" for no control groups even where they could be had.
        scope: see `home_scope`, which is the default.
    """
    scope = home_scope() if scope is None else scope
    if mode != "rlimit":
        try:
            return CgroupLimiter(find_hierarchy(), scope=scope)
        except QuotaUnenforceable:
            if mode is not None:
                raise
    return RlimitLimiter(PsutilProcesses(), scope=scope)


def home_scope(home: str | None = None) -> str:
    """Return a short name for a `$PSUP_HOME`, so that two homes never touch each other's lives."""
    folder = FilePath(home or os.environ.get("PSUP_HOME", "~/.psup")).expanduser().absolute()
    return hashlib.sha256(str(folder).encode()).hexdigest()[:10]


def sweep_node(
    pipeline: str,
    keep: Mapping[Path, int],
    *,
    scope: str | None = None,
    like_pid: int | None = None,
) -> Sequence[str]:
    """Remove what dead cells of a pipeline left on this node; see `Limiter.sweep`.

    Args:
        pipeline: whose lives.
        keep: the lives that go on.
        scope: see `make_limiter`.
        like_pid: a process in whose control groups the cells were, if not in those of this one.
    """
    scope = home_scope() if scope is None else scope
    if like_pid is not None:
        with suppress(QuotaUnenforceable):
            hierarchy = find_hierarchy(cgroup_file=f"/proc/{like_pid}/cgroup")
            return CgroupLimiter(hierarchy, scope=scope).sweep(pipeline, keep)
    return make_limiter(scope=scope).sweep(pipeline, keep)


class LocalCell(Cell):
    """A cell whose limiter is chosen where it is constructed.

    Args:
        path: the segment's.
        mode, scope: see `make_limiter`.
        run_folder, node: see `Cell`.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: str | None = None,
        scope: str | None = None,
        run_folder: str | None = None,
        node: str = "",
    ) -> None:
        scope = home_scope() if scope is None else scope
        limiter = make_limiter(mode=mode, scope=scope)
        super().__init__(path, limiter=limiter, run_folder=run_folder, node=node, scope=scope)

    def clear(self) -> None:
        """End whatever lives of this path in other cells left behind; for a cell without a life.

        Raises:
            OSError, TimeoutError: something is still there.
        """
        spec = SegmentSpec(self.path.rpartition("/")[2])
        # To enclose a life ends the leftovers of earlier ones first; this one never begins.
        self._limiter.enclose(self.path, 0, spec, f"{self.path}#0").remove()
