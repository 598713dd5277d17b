"""Why a life ended, from what was seen: pure, and the only place where a cause is named.

Read next: `life.py`, which collects the facts.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.core.events import ExitKind, ExitReason


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a life that has ended.

    Args:
        exit_code: of the main process; negative is the signal that ended it.
        asked: somebody had ordered a stop or a kill before it ended.
        sentence: why the cell itself ended it (a breach), decided before anybody asked.
        oom_kills: processes of this life that the kernel killed for memory.
        error: what the body said about its exception: type, message, traceback.
        memory_errors_are_quota: the memory quota is held by RLIMIT_DATA, whose breach a program
            meets as a failed allocation.
    """

    exit_code: int
    asked: bool = False
    sentence: ExitReason | None = None
    oom_kills: int = 0
    error: Mapping[str, Any] | None = None
    memory_errors_are_quota: bool = False


def reason(facts: Facts) -> ExitReason:
    """Return the cause; a stop that was asked for explains whatever followed it.

    >>> str(reason(Facts(exit_code=-9, oom_kills=1))), str(reason(Facts(exit_code=-9)))
    ('oom', 'signal(SIGKILL)')
    """
    if facts.sentence is not None:
        return facts.sentence
    if facts.asked:
        return ExitReason(ExitKind.STOPPED)
    if facts.oom_kills:
        return ExitReason(ExitKind.OOM)
    if facts.error is not None:
        return _error(facts.error, oom=facts.memory_errors_are_quota)
    return _status(facts.exit_code)


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9; signals without a name are called by their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _status(exit_code: int) -> ExitReason:
    if exit_code == 0:
        return ExitReason(ExitKind.COMPLETED)
    if exit_code < 0:
        return ExitReason(ExitKind.SIGNAL, signal_name(-exit_code))
    return ExitReason(ExitKind.EXIT, str(exit_code))


def _error(error: Mapping[str, Any], *, oom: bool) -> ExitReason:
    if oom and error["type"] == "MemoryError":
        return ExitReason(ExitKind.OOM)
    message = str(error["message"])
    return ExitReason(ExitKind.ERROR, f"{error['type']}: {message}" if message else error["type"])
