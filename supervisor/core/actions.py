"""Orders to the outside, in the imperative. The core returns them and never carries them out.

Start, Adopt, Stop, Kill and Release are idempotent by (path, incarnation): after a crash between
saving and acting they are issued again by `outstanding`. Report and Answer are facts to be
recorded with the step that made them. Read next: `runtime/executor.py`, which carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from supervisor.core.events import ExitReason
from supervisor.core.spec import Adjustments, Path


@dataclass(frozen=True, slots=True)
class Start:
    """Begin this life: `Started`, then `Ready`, or `Exited` must follow.

    Args:
        attempt: 1 for a first try, +1 for every restart in a row.
        last_exit: how the life before ended, for the body's `Context`; None on the first.
        adjustments: what this life gets instead of what is declared.
    """

    path: Path
    incarnation: int
    attempt: int = 1
    last_exit: ExitReason | None = None
    adjustments: Adjustments | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """Find the living body of this life and watch it; `Exited(node_lost)` if there is none."""

    path: Path
    incarnation: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the body to go; `Exited` must follow, or a `Kill` will."""

    path: Path
    incarnation: int


@dataclass(frozen=True, slots=True)
class Adjust:
    """Hold the living body to its segment's present spec: limits, health checks, stop signal.

    Args:
        adjustments: what this life gets instead of what is declared.
    """

    path: Path
    incarnation: int
    adjustments: Adjustments | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """End the body and everything it started, now."""

    path: Path
    incarnation: int


@dataclass(frozen=True, slots=True)
class Release:
    """The segment rests: its cell may go. A later Start makes a new one."""

    path: Path
    incarnation: int


class ReportCode(StrEnum):
    """What a report is about; stable words for journal, `events` and `why`."""

    STALE_EVENT = "stale_event"
    ILLEGAL_EVENT = "illegal_event"
    RESTART_SCHEDULED = "restart_scheduled"
    GROUP_RESTART = "group_restart"
    RESTART_STORM = "restart_storm"
    GAVE_UP = "gave_up"
    ESCALATED = "escalated"
    AUTO_SHUTDOWN = "auto_shutdown"
    PIPELINE_FAILED = "pipeline_failed"
    TEMPORARY_DROPPED = "temporary_dropped"
    DEADLINE_PASSED = "deadline_passed"
    START_TIMED_OUT = "start_timed_out"
    GRACE_PASSED = "grace_passed"
    UNRESPONSIVE = "unresponsive"


@dataclass(frozen=True, slots=True)
class Report:
    """Something a person may want to know; changes nothing."""

    code: ReportCode
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a person's request, stored with the step it caused.

    Args:
        ok: False means that nothing was changed.
        code: "ok" or a stable word for the refusal (`already_running`, `not_running`, ...).
    """

    request: int
    ok: bool
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Everything is down and nothing will come up by itself.

    Args:
        failed: True when the root gave up, False when a person asked for `down` or the pipeline
            has finished (`auto_shutdown`).
    """

    failed: bool


Action = Start | Adopt | Adjust | Stop | Kill | Release | Report | Answer | Halt
