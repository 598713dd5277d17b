"""The sliding window of restarts: how many, within which time, is too many.

The rule is OTP's: a restart is added to the window before it is attempted, and one more than
`max_restarts` inside `max_seconds` is one too many. So `max_restarts=0` gives up at the first
death. Times are kept as they are; OTP cuts them to whole seconds (docs/semantics.md).
Read next: `restarts.py` (when it is asked).
"""

from __future__ import annotations


def add_restart(
    restarts: tuple[float, ...], now_s: float, max_seconds: float | None
) -> tuple[float, ...]:
    """Return the window with this restart in it and without those that have aged out of it.

    Args:
        restarts: times of earlier restarts, oldest first, seconds.
        now_s: time of this one.
        max_seconds: the window; a restart exactly this old still counts. None: they never age.

    >>> add_restart((0.0, 1.0, 4.0), 6.0, 5.0)
    (1.0, 4.0, 6.0)
    """
    if max_seconds is not None:
        restarts = tuple(at_s for at_s in restarts if now_s - at_s <= max_seconds)
    return (*restarts, now_s)


def too_many(restarts: tuple[float, ...], streak: int, max_restarts: int) -> bool:
    """Is this one restart too many, by time or in a row?

    Restarts in a row count as well: with a backoff or a slow start longer than
    `max_seconds / max_restarts`, a window of time alone never fills.

    >>> too_many((1.0, 2.0), 1, 2), too_many((1.0, 2.0, 3.0), 1, 2), too_many((9.0,), 3, 2)
    (False, True, True)
    """
    return len(restarts) > max_restarts or streak > max_restarts
