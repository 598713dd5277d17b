"""Whether a process that was written down earlier is still that same process.

A pid alone is not a name: it is used again after the process ends, and after every reboot. Pid,
start time in clock ticks and boot id together are one. A zombie counts as dead: it will never act
again. Standard library only, because read commands ask this too. Holds for one machine and one
pid namespace: containers that share a `$PSUP_HOME` must share their pids as well.
Read next: `adapters/sqlite_store.py` (`claim`), `cli/asking.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from supervisor.errors import SupervisorError

if TYPE_CHECKING:
    from supervisor.runtime.ports import Owner

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DEAD_STATES = frozenset("ZXx")


class RecordedOwner(Protocol):
    """What was written down about a daemon; `ports.Owner`, or a row of the database."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def started_ticks(self) -> int:
        """When that process was started, in clock ticks since boot."""

    @property
    def boot_id(self) -> str:
        """The boot in which that was."""

    @property
    def parent_pid(self) -> int:
        """The process that restarts it."""


def boot_id() -> str:
    """Return the kernel's name for the time since this machine was started.

    Raises:
        SupervisorError: `/proc` is not mounted; without it no owner can be told from a stranger.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError as error:
        message = f"{_BOOT_ID} cannot be read: {error.strerror or error}"
        raise SupervisorError(message, hint="psup needs Linux with /proc mounted") from error


def started_ticks(pid: int) -> int | None:
    """Return when the process was started, in clock ticks since boot; None if it is dead."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, and may itself hold blanks and brackets.
    fields = line.rpartition(")")[2].split()
    return None if fields[0] in _DEAD_STATES else int(fields[19])


def is_alive(owner: RecordedOwner) -> bool:
    """Tell whether that very process still runs."""
    return owner.boot_id == boot_id() and started_ticks(owner.pid) == owner.started_ticks


def parent_is_alive(owner: RecordedOwner) -> bool:
    """Tell whether the process that restarts this daemon still runs.

    The parent's own start time is not written down, and need not be: it was started before its
    child, and whoever got its pid later was started after.
    """
    ticks = started_ticks(owner.parent_pid) if owner.boot_id == boot_id() else None
    return ticks is not None and ticks <= owner.started_ticks


def this_process(token: str) -> Owner:
    """Describe the calling process as an owner.

    Args:
        token: a random word that no other owner has; the fence of every write.
    """
    from supervisor.runtime.ports import Owner

    pid = os.getpid()
    ticks = started_ticks(pid)
    assert ticks is not None, "a process that reads its own stat file is alive"
    return Owner(
        pid=pid,
        started_ticks=ticks,
        boot_id=boot_id(),
        token=token,
        parent_pid=os.getppid(),
    )
