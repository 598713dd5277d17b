"""Seconds that never go backwards: not with the wall clock, a restart of the daemon, or a reboot.

The steady time is the kernel's boot clock plus an offset that is chosen once, so that it is near
Unix time when the pipeline is first launched, and kept in the pipeline's info. The boot clock runs
on while the machine sleeps, and nobody can set it. A reboot starts it again from zero: then the
steady time goes on from the last moment that was written down, plus the wall time that has passed
since (none, if the wall clock claims to be earlier). Deadlines, restart windows and ages all live
on this one scale. Standard library only: the command line computes ages with it.
Read next: `ports.Clock`, `ports.Store.last_moment`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from supervisor.runtime.process_identity import boot_id as read_boot_id


class Moment(NamedTuple):
    """One instant on both clocks: `at_s` steady, `wall_s` Unix time as the machine believed it."""

    at_s: float
    wall_s: float


def _boot_clock_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """The kernel's boot clock, shifted by a fixed number of seconds.

    Args:
        offset_s: what is added to the boot clock.
        boot_id: the boot during which this offset holds.
        boot_clock_s: the boot clock; another one only in tests.
    """

    def __init__(
        self, offset_s: float, boot_id: str, boot_clock_s: Callable[[], float] = _boot_clock_s
    ) -> None:
        self._offset_s = offset_s
        self._boot_id = boot_id
        self._boot_clock_s = boot_clock_s

    @classmethod
    def resume(
        cls,
        info: Mapping[str, Any],
        last: Moment | None,
        *,
        boot_id: str | None = None,
        boot_clock_s: Callable[[], float] = _boot_clock_s,
        wall_s: Callable[[], float] = time.time,
    ) -> Self:
        """Go on with the time of a pipeline, or begin it when nothing is known.

        Args:
            info: the pipeline's info; `offset_s` and `boot_id` are read.
            last: the newest moment in the store, None if there is none.
            boot_id: this boot's; another one only in tests.
            boot_clock_s: the kernel's; another one only in tests.
            wall_s: the machine's; another one only in tests.
        """
        boot_id = read_boot_id() if boot_id is None else boot_id
        booted_s, wall_now_s = boot_clock_s(), wall_s()
        if info.get("boot_id") == boot_id and "offset_s" in info:
            now_s = booted_s + float(info["offset_s"])
        elif last is None:
            now_s = wall_now_s
        else:
            now_s = last.at_s + wall_now_s - last.wall_s
        # The wall clock may claim to be earlier than it was, and the boot clock itself can jump
        # back within one boot: a container may be given its own.
        if last is not None:
            now_s = max(now_s, last.at_s)
        return cls(now_s - booted_s, boot_id, boot_clock_s)

    def now_s(self) -> float:
        """Return the steady time."""
        return self._boot_clock_s() + self._offset_s

    def facts(self) -> dict[str, Any]:
        """Return what must be kept in the pipeline's info, so that `resume` can go on."""
        return {"offset_s": self._offset_s, "boot_id": self._boot_id}


class ManualClock:
    """A clock for tests: it moves when it is told to, and only forwards."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """Return the time it was last set to."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` >= 0 pass."""
        self.set(self._now_s + seconds)

    def set(self, now_s: float) -> None:
        """Jump to `now_s`, which must not lie in the past."""
        if now_s < self._now_s:
            message = f"time cannot go back from {self._now_s} to {now_s}"
            raise ValueError(message)
        self._now_s = now_s
