"""Where every node stands. A phase owns exactly the fields that make sense in it.

Decides nothing; `transitions.py` and `machine.py` replace these frozen values. A kill deadline
cannot exist on a running child, a backoff cannot exist on a stopped one. Times are seconds of the
driver's steady clock (`runtime/clock.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from supervisor.core.events import ExitReason
from supervisor.core.spec import Adjustments, Path


class Why(StrEnum):
    """Why a node is being stopped; decides what follows its exit."""

    USER_STOP = "user_stop"
    USER_RESTART = "user_restart"
    GROUP = "group"
    """Its supervisor restarts a group that it belongs to."""
    SHUTDOWN = "shutdown"
    """Its supervisor goes down (drain, stop, give-up, escalation)."""
    DEADLINE = "deadline"
    START_TIMEOUT = "start_timeout"
    HANG = "hang"
    GAVE_UP = "gave_up"
    """Only of supervisors: the restart limit was exceeded, or a significant child failed."""
    FINISHED = "finished"
    """Only of supervisors: its significant children have completed."""


class Ending(StrEnum):
    """How a node came to rest for good (until a person or a group restart starts it again)."""

    COMPLETED = "completed"
    FAILED = "failed"
    """Abnormal exit that policy does not retry (`temporary`, `never_on`)."""
    GAVE_UP = "gave_up"
    """A restart limit was used up."""
    DROPPED = "dropped"
    """A temporary child that was stopped with its group."""


@dataclass(frozen=True, slots=True)
class Idle:
    """No process, nothing scheduled: not its turn yet, or stopped (see `wanted`)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Its turn has come, but `after` is not satisfied."""

    since_s: float


@dataclass(frozen=True, slots=True)
class Starting:
    """Start was ordered; ready is awaited."""

    since_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Running:
    """Ready. `deadline_s` is the end of the time quota."""

    since_s: float
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """Stop was ordered; the exit is awaited until `kill_at_s` (None: for ever)."""

    since_s: float
    kill_at_s: float | None
    why: Why


@dataclass(frozen=True, slots=True)
class Killing:
    """Kill was ordered; it is repeated at `again_at_s` while the exit is missing."""

    since_s: float
    again_at_s: float
    why: Why


@dataclass(frozen=True, slots=True)
class BackingOff:
    """Will be started again at `until_s`."""

    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """At rest, and policy will not change that."""

    since_s: float
    how: Ending


Phase = Idle | Waiting | Starting | Running | Stopping | Killing | BackingOff | Ended


@dataclass(frozen=True, slots=True)
class SegmentState:
    """One segment over all its lives.

    Args:
        incarnation: number of the current or latest life, 0 before the first; never reused.
        wanted: False while a person's stop stands.
        streak: restarts in a row without a healthy run.
        restarts: times of automatic restarts inside the segment's own budget window.
        restart_count: automatic restarts ever.
        last_exit: how the latest finished life ended.
        tries: causes and how often each was followed by a restart in a row (`on_exit`).
        once: what a person gave to one life.
        once_for: incarnation of that life.
    """

    phase: Phase = Idle()
    incarnation: int = 0
    wanted: bool = True
    streak: int = 0
    restarts: tuple[float, ...] = ()
    restart_count: int = 0
    last_exit: ExitReason | None = None
    tries: tuple[tuple[str, int], ...] = ()
    once: Adjustments | None = None
    once_for: int = 0


@dataclass(frozen=True, slots=True)
class Down:
    """Not started, or stopped (see `wanted`)."""


@dataclass(frozen=True, slots=True)
class BringingUp:
    """Children are started in order; `cursor` is the one that is awaited.

    Args:
        keeps_counters: a person restarts the supervisor: nothing below forgets its restarts.
    """

    since_s: float
    cursor: int
    keeps_counters: bool = False


@dataclass(frozen=True, slots=True)
class Up:
    """All children had their turn."""

    since_s: float


@dataclass(frozen=True, slots=True)
class Recycling:
    """A group restart: children from `cursor` down to `first` are being stopped.

    When the last is gone, it holds off until `hold_until_s`, then brings up from `first`.
    """

    since_s: float
    first: int
    cursor: int
    hold_until_s: float


@dataclass(frozen=True, slots=True)
class GoingDown:
    """All children are stopped in reverse order; `cursor` is the one that is awaited."""

    since_s: float
    cursor: int
    why: Why


@dataclass(frozen=True, slots=True)
class SupervisorBackingOff:
    """Exited; its parent will start it again at `until_s`."""

    since_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class SupervisorEnded:
    """Exited, and its parent will not start it again."""

    since_s: float
    how: Ending


@dataclass(frozen=True, slots=True)
class Storm:
    """The restarts of a whole pipeline since its bucket was last full; see `rate.py`.

    Args:
        since_s: when the first of them was.
        restarts: how many.
        full_s: when the bucket will be full again, if nothing more fails.
    """

    since_s: float
    restarts: int
    full_s: float


SupervisorPhase = (
    Down | BringingUp | Up | Recycling | GoingDown | SupervisorBackingOff | SupervisorEnded
)


@dataclass(frozen=True, slots=True)
class SupervisorState:
    """One supervisor.

    Args:
        incarnation: how often it was brought up; feeds jitter.
        wanted: False while a person's stop stands.
        streak: restarts of this supervisor in a row without a healthy run.
        restarts: times of restarts of its children inside `max_seconds`.
        restart_count: restarts of its children ever (a group counts once).
        failed: only of the root under one_for_one: its limit was exceeded; who is healthy stays up.
        last_exit: how it last went down by itself.
        storm: only of the root: the latest restarts of the whole pipeline.
    """

    phase: SupervisorPhase = Down()
    incarnation: int = 0
    wanted: bool = True
    streak: int = 0
    restarts: tuple[float, ...] = ()
    restart_count: int = 0
    failed: bool = False
    last_exit: ExitReason | None = None
    storm: Storm | None = None


NodeState = SegmentState | SupervisorState

__all__ = [
    "BackingOff",
    "BringingUp",
    "Down",
    "Ended",
    "Ending",
    "GoingDown",
    "Idle",
    "Killing",
    "NodeState",
    "Path",
    "Phase",
    "Recycling",
    "Running",
    "SegmentState",
    "Starting",
    "Stopping",
    "Storm",
    "SupervisorBackingOff",
    "SupervisorEnded",
    "SupervisorPhase",
    "SupervisorState",
    "Up",
    "Waiting",
    "Why",
]
