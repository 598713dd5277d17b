"""Type x reason x strategy: docs/semantics.md, 3.1 to 3.3 and 5.1; OTP's own table."""

from __future__ import annotations

import pytest
from stage import COMPLETED, CRASH, OOM, STOPPED, Stage

from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Restart, SegmentSpec, Strategy, SupervisorSpec
from supervisor.core.state import Ending
from supervisor.core.strategies import ending_after, first_to_go, is_clean, is_hopeless

REASONS = {
    "completed": COMPLETED,
    "stopped": STOPPED,
    "error": CRASH,
    "exit": ExitReason(ExitKind.EXIT, "1"),
    "signal": ExitReason(ExitKind.SIGNAL, "SIGSEGV"),
    "oom": OOM,
    "quota": ExitReason(ExitKind.QUOTA, "processes"),
    "deadline": ExitReason(ExitKind.DEADLINE),
    "hang": ExitReason(ExitKind.HANG),
    "start_timeout": ExitReason(ExitKind.START_TIMEOUT),
    "node_lost": ExitReason(ExitKind.NODE_LOST),
    "gave_up": ExitReason(ExitKind.GAVE_UP),
}
CLEAN = {"completed", "stopped", "gave_up"}


def test_every_kind_of_exit_is_looked_at() -> None:
    """A new kind of exit must be given a row here."""
    assert set(REASONS) == {kind.value for kind in ExitKind}


@pytest.mark.parametrize("name", REASONS)
def test_clean_or_abnormal(name: str) -> None:
    """Three ways to end are clean, all others are not (3.1)."""
    assert is_clean(REASONS[name]) is (name in CLEAN)


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("restart", Restart)
def test_type_and_reason(restart: Restart, name: str) -> None:
    """Permanent always, transient after an abnormal exit, temporary never (3.1)."""
    how = ending_after(SegmentSpec("a", restart=restart), REASONS[name])
    rests = restart is Restart.TEMPORARY or (restart is Restart.TRANSIENT and name in CLEAN)
    if not rests:
        assert how is None
    elif name == "gave_up":
        assert how is Ending.GAVE_UP
    else:
        assert how is (Ending.COMPLETED if name in CLEAN else Ending.FAILED)


@pytest.mark.parametrize("restart", Restart)
def test_supervisor_that_gave_up(restart: Restart) -> None:
    """To its parent that is a clean exit: only a permanent one comes back (7.3)."""
    how = ending_after(SupervisorSpec("s", restart=restart), REASONS["gave_up"])
    assert how is (None if restart is Restart.PERMANENT else Ending.GAVE_UP)


@pytest.mark.parametrize(
    ("reason", "hopeless"),
    [
        (ExitReason(ExitKind.ERROR, "KeyError: 'x'"), True),
        (ExitReason(ExitKind.ERROR, "KeyErrorish: 'x'"), False),
        (ExitReason(ExitKind.ERROR, "ValueError: KeyError"), False),
        (ExitReason(ExitKind.EXIT, "78"), True),
        (ExitReason(ExitKind.EXIT, "7"), False),
        (ExitReason(ExitKind.SIGNAL, "78"), False),
        (ExitReason(ExitKind.QUOTA, "78"), False),
        (ExitReason(ExitKind.OOM), False),
    ],
    ids=str,
)
def test_never_on(reason: ExitReason, *, hopeless: bool) -> None:
    """An exception type or an exit code must match as a whole (3.3)."""
    spec = SegmentSpec("a", restart=Restart.PERMANENT, never_on=frozenset({"KeyError", "78"}))
    assert is_hopeless(spec, reason) is hopeless
    assert ending_after(spec, reason) is (Ending.GAVE_UP if hopeless else None)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_first_to_go(position: int) -> None:
    """Nobody, from the dead child on, or everybody (5.1)."""
    found = {strategy: first_to_go(strategy, position) for strategy in Strategy}
    assert found == {
        Strategy.ONE_FOR_ONE: None,
        Strategy.REST_FOR_ONE: position,
        Strategy.ONE_FOR_ALL: 0,
    }


@pytest.mark.parametrize("name", ["completed", "stopped", "error", "oom", "exit", "node_lost"])
@pytest.mark.parametrize("restart", Restart)
@pytest.mark.parametrize("strategy", Strategy)
def test_type_reason_and_strategy_together(strategy: Strategy, restart: Restart, name: str) -> None:
    """The middle one of three exits: who is stopped and started, in which order (3.1-3.2, 5)."""
    stage = Stage(
        f"p {strategy.value}\n"
        "  a service permanent\n"
        f"  b service {restart.value} backoff=0\n"
        "  c service permanent"
    ).all_up()
    stage.exits("b", REASONS[name], at=10)
    trace = list(stage.orders)
    while stage.orders:
        verb, life, *_ = stage.orders[0].split()
        path, _, number = life.partition("#")
        if verb == "stop":
            stage.exits(path, STOPPED, life=int(number))
        else:
            stage.ready(path)
        trace += stage.orders
    restarted = restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and name not in CLEAN)
    order = [line.split(" (")[0] for line in trace]
    if not restarted:
        assert order == []
    else:
        assert (
            order
            == {
                Strategy.ONE_FOR_ONE: ["start p/b#2"],
                Strategy.REST_FOR_ONE: ["stop p/c#1", "start p/b#2", "start p/c#2"],
                Strategy.ONE_FOR_ALL: [
                    "stop p/c#1",
                    "stop p/a#1",
                    "start p/a#2",
                    "start p/b#2",
                    "start p/c#2",
                ],
            }[strategy]
        )
