"""The window of restarts, also against a second implementation that is as dumb as possible."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from supervisor.core.intensity import add_restart, limit_exceeded


@pytest.mark.parametrize(
    ("gap_s", "kept"), [(0.0, 2), (4.999, 2), (5.0, 2), (5.001, 1), (500.0, 1)]
)
def test_window_is_inclusive(gap_s: float, kept: int) -> None:
    """A restart exactly `max_seconds` old still counts, an older one does not (4.1)."""
    assert len(add_restart((100.0,), 100.0 + gap_s, 5.0)) == kept


def test_restarts_that_never_age() -> None:
    """Without a window everything counts for ever (4.3)."""
    assert add_restart((1.0, 2.0), 1e9, None) == (1.0, 2.0, 1e9)


@pytest.mark.parametrize("max_restarts", range(4))
def test_one_more_than_allowed_is_too_many(max_restarts: int) -> None:
    """I restarts are tolerated, the next is not; 0 tolerates none (4.1)."""
    allowed = tuple(float(at_s) for at_s in range(max_restarts))
    assert limit_exceeded(allowed, 0, max_restarts, 60.0) is None
    assert limit_exceeded((*allowed, 9.0), 0, max_restarts, 60.0) is not None


@pytest.mark.parametrize("max_restarts", range(4))
def test_in_a_row_counts_whatever_the_time(max_restarts: int) -> None:
    """One restart in the window, but one more in a row than allowed: too many (4.2)."""
    assert limit_exceeded((9.0,), max_restarts, max(1, max_restarts), 1.0) is None
    said = limit_exceeded((9.0,), max(1, max_restarts) + 1, max(1, max_restarts), 1.0)
    assert said is not None
    assert said.endswith("in a row")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((1.0, 2.0), 0, 1, 60.0), "1 restart in 60s"),
        (((1.0,), 0, 0, 0.5), "0 restarts in 0.5s"),
        (((1.0, 2.0, 3.0), 3, 2, None), "2 restarts"),
        (((1.0,), 3, 2, 60.0), "2 restarts in a row"),
    ],
)
def test_words(arguments: tuple[tuple[float, ...], int, int, float | None], said: str) -> None:
    """The limit is named as a person would."""
    assert limit_exceeded(*arguments) == said


@given(
    gaps_s=st.lists(st.floats(0, 20), max_size=30),
    max_restarts=st.integers(0, 5),
    max_seconds=st.floats(0.1, 30),
)
def test_against_a_dumb_second_implementation(
    gaps_s: list[float], max_restarts: int, max_seconds: float
) -> None:
    """A window that forgets decides as one that keeps all times and counts them anew."""
    all_times: list[float] = []
    window: tuple[float, ...] = ()
    now_s = 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        all_times.append(now_s)
        window = add_restart(window, now_s, max_seconds)
        counted = sum(1 for at_s in all_times if now_s - at_s <= max_seconds)
        too_many = limit_exceeded(window, 0, max_restarts, max_seconds) is not None
        assert too_many is (counted > max_restarts)
