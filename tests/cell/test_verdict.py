"""Every combination of facts names one cause, and the order of precedence is held."""

from __future__ import annotations

import pytest

from supervisor.cell.verdict import Facts, reason, signal_name
from supervisor.core.events import ExitKind, ExitReason

ERROR = {"type": "ValueError", "message": "bad", "traceback": ""}
OUT_OF_MEMORY = {"type": "MemoryError", "message": "", "traceback": ""}
QUOTA = ExitReason(ExitKind.QUOTA, "disk")


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        (Facts(0), "completed"),
        (Facts(3), "exit(3)"),
        (Facts(-15), "signal(SIGTERM)"),
        (Facts(1, error=ERROR), "error(ValueError: bad)"),
        (Facts(1, error=OUT_OF_MEMORY), "error(MemoryError)"),
        (Facts(1, error=OUT_OF_MEMORY, memory_errors_are_quota=True), "oom"),
        (Facts(-9, oom_kills=1), "oom"),
        (Facts(0, oom_kills=1), "oom"),
        (Facts(1, error=ERROR, oom_kills=2), "oom"),
        (Facts(0, asked=True), "stopped"),
        (Facts(-9, asked=True, oom_kills=1), "stopped"),
        (Facts(-9, sentence=QUOTA), "quota(disk)"),
        (Facts(-9, sentence=QUOTA, asked=True), "quota(disk)"),
    ],
)
def test_the_cause_follows_from_the_facts(facts: Facts, cause: str) -> None:
    """A breach before the stop explains the end; after it, the stop does."""
    assert str(reason(facts)) == cause


def test_signals_without_a_name_keep_their_number() -> None:
    """Real-time signals have no name in between the first and the last."""
    assert signal_name(40) == "SIG40"
