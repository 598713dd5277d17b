"""Facts from outside, in the past tense. The core never asks whether they are true.

Everything that is news about one life of a segment carries `path` and `incarnation`: news about an
old life is dropped and counted, never obeyed. Requests carry the id under which the person waits
for an answer. Read next: `actions.py` (what the core orders), `machine.py` (`step`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from supervisor.core.spec import Adjustments, Path


class ExitKind(StrEnum):
    """The closed set of causes for which a life can end."""

    COMPLETED = "completed"
    ERROR = "error"
    EXIT = "exit"
    SIGNAL = "signal"
    OOM = "oom"
    QUOTA = "quota"
    DEADLINE = "deadline"
    HANG = "hang"
    START_TIMEOUT = "start_timeout"
    NODE_LOST = "node_lost"
    STOPPED = "stopped"
    GAVE_UP = "gave_up"
    """Only of supervisors: the restart limit was exceeded; OTP's exit reason `shutdown`."""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Why a life ended, in one word and its detail.

    Args:
        kind: the cause.
        detail: error: `Type: message`; exit: the code; signal: the name; quota: which one; else "".

    >>> str(ExitReason(ExitKind.SIGNAL, "SIGKILL")), str(ExitReason(ExitKind.OOM))
    ('signal(SIGKILL)', 'oom')
    """

    kind: ExitKind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}({self.detail})" if self.detail else self.kind.value

    @property
    def error_type(self) -> str:
        """The exception's type name of an `error`, or ""."""
        return self.detail.partition(":")[0] if self.kind is ExitKind.ERROR else ""


@dataclass(frozen=True, slots=True)
class Started:
    """The body's process exists. Not yet ready."""

    path: Path
    incarnation: int
    pid: int
    node: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """The body does its work (task: it runs; service: its readiness probe answered)."""

    path: Path
    incarnation: int


@dataclass(frozen=True, slots=True)
class Exited:
    """No process of this life is left."""

    path: Path
    incarnation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Unresponsive:
    """The body lives but no longer answers its `alive` probe or feeds its watchdog."""

    path: Path
    incarnation: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StartRequested:
    """A person wants the node to run; takes back an earlier stop."""

    path: Path
    request: int = 0


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person wants the node down until that person says otherwise."""

    path: Path
    request: int = 0


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """A person wants a fresh life at once; no counter is touched.

    Args:
        adjustments: what that one life gets instead of what is declared; only for segments.
    """

    path: Path
    request: int = 0
    adjustments: Adjustments | None = None


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """The whole pipeline is to go down, in reverse start order."""

    request: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; deadlines that are due fire."""


LifeEvent = Started | Ready | Exited | Unresponsive
Request = StartRequested | StopRequested | RestartRequested | DrainRequested
Event = LifeEvent | Request | Tick
