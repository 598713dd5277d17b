"""How long to wait before the n-th restart in a row, spread by a hash instead of by chance.

A hash of (path, incarnation) gives each life its own place inside the jitter's range: a hundred
segments that die together do not come back together, and a replay waits exactly as long.
Read next: `spec.Backoff` (the numbers), `restarts.py` (when it is asked).
"""

from __future__ import annotations

from hashlib import blake2b

from supervisor.core.spec import Backoff, Path


def delay_s(backoff: Backoff, streak: int, path: Path, incarnation: int) -> float:
    """Return the seconds to wait before restart number `streak` (1 is the first) in a row.

    >>> steady = Backoff(first_s=1.0, factor=2.0, max_s=10.0, jitter=0.0)
    >>> [delay_s(steady, streak, "p/a", streak) for streak in range(1, 7)]
    [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    """
    delay = _grown_s(backoff, streak)
    if backoff.jitter == 0 or delay == 0:
        return delay
    return delay * (1.0 + backoff.jitter * (2.0 * spread(path, incarnation) - 1.0))


def _grown_s(backoff: Backoff, streak: int) -> float:
    try:
        grown = backoff.first_s * backoff.factor ** (streak - 1)
    except OverflowError:  # after some hundred restarts in a row
        return backoff.max_s
    return min(backoff.max_s, grown)


def spread(path: Path, incarnation: int) -> float:
    """Return a number in [0, 1) that is always the same for the same life.

    >>> spread("p/a", 1) == spread("p/a", 1) != spread("p/a", 2)
    True
    """
    digest = blake2b(f"{path}#{incarnation}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
