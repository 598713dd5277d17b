"""How much of the past a store keeps, and which measurements go first.

A pipeline may run for months and a segment may restart every minute, so everything that grows has
a bound. Pure: the stores decide when to apply it, `docs/store.md` says it to users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest


@dataclass(frozen=True, slots=True)
class Retention:
    """Upper bounds; a store may exceed them by a small, constant number of rows.

    Args:
        journal_rows: newest lines of the journal kept, per pipeline.
        journal_age_s: older lines go, however few there are, seconds.
        lives_per_segment: newest lives kept, per segment.
        sampled_lives: newest lives whose measurements are kept, per segment.
        samples_per_life: measurements kept, per life, >= 2: the newest half as they came, of the
            older ones fewer the older they are.
        answered_requests: newest answered requests kept, per pipeline.
    """

    journal_rows: int = 100_000
    journal_age_s: float = 30 * 86_400.0
    lives_per_segment: int = 1_000
    sampled_lives: int = 10
    samples_per_life: int = 1_000
    answered_requests: int = 1_000

    def __post_init__(self) -> None:
        if self.lives_per_segment < 1 or self.samples_per_life < 2:
            raise ValueError("the newest life and two measurements of it are always kept")


def surplus(memory_bytes: Sequence[int | None], keep: int) -> list[int]:
    """Return the positions of the measurements to drop, so that at most `keep` are left.

    The newest half of `keep` stays. Of every two neighbours among the older ones that with less
    memory goes, and again until it fits: peaks stay, and detail fades with age.

    Args:
        memory_bytes: of each measurement, oldest first; None where it was not measured.
        keep: how many may stay, >= 2.

    >>> surplus([10, 20, 90, 30, 40, 50], keep=4)
    [0, 3]
    """
    newest = keep // 2
    kept = list(range(len(memory_bytes)))
    while len(kept) > keep:
        old, new = kept[:-newest], kept[-newest:]
        pairs = zip_longest(old[::2], old[1::2], fillvalue=old[-1])
        kept = [max(pair, key=lambda at: memory_bytes[at] or 0) for pair in pairs] + new
    staying = set(kept)
    return [at for at in range(len(memory_bytes)) if at not in staying]
