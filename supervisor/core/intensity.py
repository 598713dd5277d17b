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


def limit_exceeded(
    restarts: tuple[float, ...], streak: int, max_restarts: int, max_seconds: float | None
) -> str | None:
    """Return which limit this restart is over, in words; None when it is allowed.

    Restarts in a row count as well: with a backoff or a slow start longer than
    `max_seconds / max_restarts`, a window of time alone never fills.

    Args:
        restarts: the window, this restart included.
        streak: restarts in a row without a healthy run, this one included; 0 to count only time.
        max_restarts: restarts allowed, >= 0.
        max_seconds: the window, as in `add_restart`.

    >>> limit_exceeded((1.0, 2.0), 2, 2, 60.0)
    >>> limit_exceeded((1.0, 2.0, 3.0), 1, 2, 60.0)
    '2 restarts in 60s'
    >>> limit_exceeded((9.0,), 2, 1, 5.0)
    '1 restart in a row'
    """
    allowed = "1 restart" if max_restarts == 1 else f"{max_restarts} restarts"
    if len(restarts) > max_restarts:
        return allowed if max_seconds is None else f"{allowed} in {max_seconds:g}s"
    return f"{allowed} in a row" if streak > max_restarts else None
