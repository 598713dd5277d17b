"""The token bucket over a whole pipeline: many restarts at once are spread, none is dropped.

Limits look at one supervisor each, so a hundred branches that fail together may each be within
theirs, and still start a hundred bodies in one second. The bucket holds `burst` restarts and is
refilled by `per_second`; who finds it empty waits for its turn, in the order of the deaths. Kept as
the time at which it will be full again, so that no clock has to run for it.
Read next: `restarts.py` (who asks), docs/semantics.md, section 13.
"""

from __future__ import annotations

from supervisor.core.spec import RestartRate
from supervisor.core.state import Storm


def take(rate: RestartRate, storm: Storm | None, now_s: float) -> tuple[Storm, float]:
    """Take one restart out of the bucket.

    Args:
        rate: the size of the bucket and of its refill.
        storm: the restarts since the bucket was last full; None if it is.
        now_s: steady time.

    Returns:
        What is to be remembered, and how many seconds this restart must wait.

    >>> rate, storm, waits = RestartRate(burst=2, per_second=2.0), None, []
    >>> for _ in range(4):
    ...     storm, wait_s = take(rate, storm, 10.0)
    ...     waits.append(wait_s)
    >>> waits, storm
    ([0.0, 0.0, 0.5, 1.0], Storm(since_s=10.0, restarts=4, full_s=12.0))
    """
    if storm is None or storm.full_s <= now_s:
        storm = Storm(now_s, 0, now_s)
    full_s = storm.full_s + 1.0 / rate.per_second
    wait_s = max(0.0, full_s - rate.burst / rate.per_second - now_s)
    return Storm(storm.since_s, storm.restarts + 1, full_s), wait_s
