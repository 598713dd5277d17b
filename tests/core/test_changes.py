"""What is different between two specs: every field is looked at, and its effect is said."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from supervisor.core.changes import Change, Effect, compare
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import (
    Backoff,
    Body,
    Budget,
    Criticality,
    Health,
    Kind,
    Notes,
    Probe,
    Quota,
    Restart,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.state import (
    BackingOff,
    Down,
    Ended,
    Ending,
    Idle,
    NodeState,
    Phase,
    Running,
    SegmentState,
    Stopping,
    SupervisorState,
    Up,
    Why,
)

A = SegmentSpec("a", body=Body(command=("a",), env={"KEY": "old", "STAYS": "1"}))
P = SupervisorSpec("p", (A,))

EFFECTS = [
    (replace(A, notes=Notes(owner="ann")), "notes.owner", Effect.NOTHING),
    (replace(A, policy="batch"), "policy", Effect.NOTHING),
    (replace(A, restart=Restart.PERMANENT), "restart", Effect.LIVE),
    (replace(A, backoff=Backoff(first_s=9.0)), "backoff.first_s", Effect.LIVE),
    (replace(A, budget=Budget(3)), "budget", Effect.LIVE),
    (replace(A, start_timeout_s=1.0), "start_timeout_s", Effect.LIVE),
    (replace(A, shutdown=Shutdown(1.0)), "shutdown.grace_s", Effect.LIVE),
    (replace(A, health=Health(alive=Probe("tcp"))), "health.alive", Effect.LIVE),
    (replace(A, quota=Quota(memory_bytes=1)), "quota.memory_bytes", Effect.LIVE),
    (replace(A, quota=Quota(time_s=1.0)), "quota.time_s", Effect.LIVE),
    (replace(A, quota=Quota(open_files=9)), "quota.open_files", Effect.RESTART),
    (replace(A, quota=Quota(gpus=1.0)), "quota.gpus", Effect.RESTART),
    (replace(A, criticality=Criticality.CRITICAL), "criticality", Effect.NEXT),
    (replace(A, kind=Kind.SERVICE), "kind", Effect.RESTART),
    (replace(A, body=replace(A.body, command=("b",))), "body.command", Effect.RESTART),
    (replace(A, body=replace(A.body, params={"x": 1})), "body.params.x", Effect.RESTART),
    (replace(A, body=replace(A.body, ports={"http": 0})), "body.ports.http", Effect.RESTART),
    (replace(A, body=replace(A.body, folder="/x")), "body.folder", Effect.RESTART),
]


@pytest.mark.parametrize(("changed", "name", "effect"), EFFECTS, ids=[one[1] for one in EFFECTS])
def test_each_field_has_its_effect(changed: SegmentSpec, name: str, effect: Effect) -> None:
    """Words do nothing, policy holds at once, another body is restarted."""
    (change,) = compare(P, replace(P, children=(changed,)))
    assert (change.sign, change.path, change.effect) == ("~", "p/a", effect)
    assert [field.name for field in change.fields] == [name]


def test_every_field_of_a_segment_is_seen() -> None:
    """A field that is added to the spec tomorrow is compared without a line here."""
    tried = {name.partition(".")[0] for _, name, _ in EFFECTS}
    names = {field.name for field in fields(SegmentSpec)} - {"name"}
    for name in names - tried:
        other: dict[str, Any] = {name: object()}
        changed = replace(A, **other)
        (change,) = compare(P, replace(P, children=(changed,)))
        assert [field.name for field in change.fields] == [name]


def test_the_values_of_the_environment_are_never_in_a_change() -> None:
    """That a variable is different is told, and not what it was or is."""
    changed = replace(A, body=replace(A.body, env={"KEY": "s3cret", "STAYS": "1", "NEW": "2"}))
    (change,) = compare(P, replace(P, children=(changed,)))
    assert [field.name for field in change.fields] == ["body.env.KEY", "body.env.NEW"]
    assert {(field.old, field.new) for field in change.fields} == {(None, None)}
    assert "s3cret" not in repr(change)


def test_a_quota_that_this_node_cannot_change_restarts() -> None:
    """Without control groups a limit is part of the body."""
    changed = replace(P, children=(replace(A, quota=Quota(memory_bytes=1)),))
    (change,) = compare(P, changed, live_quotas=frozenset())
    assert change.effect is Effect.RESTART


RESTS: list[tuple[Phase, bool, Effect]] = [
    (Running(0.0), True, Effect.RESTART),
    (Ended(0.0, Ending.FAILED), True, Effect.RESTART),
    (Ended(0.0, Ending.GAVE_UP), True, Effect.RESTART),
    (Ended(0.0, Ending.GAVE_UP), False, Effect.NEXT),
    (Ended(0.0, Ending.COMPLETED), True, Effect.NEXT),
    (Idle(), False, Effect.NEXT),
    (BackingOff(0.0, 9.0), True, Effect.NEXT),
    (Stopping(0.0, None, Why.USER_STOP), False, Effect.NEXT),
]


@pytest.mark.parametrize(("phase", "wanted", "effect"), RESTS)
def test_another_body_restarts_only_who_runs_or_failed(
    phase: Phase,
    wanted: bool,  # noqa: FBT001 - a column of the table above
    effect: Effect,
) -> None:
    """Nobody is stopped for nothing, and what a person stopped or what is done stays so."""
    changed = replace(P, children=(replace(A, body=Body(command=("b",))),))
    exited = ExitReason(ExitKind.EXIT, "1")
    states: dict[str, NodeState] = {
        "p": SupervisorState(Up(0.0)),
        "p/a": SegmentState(phase, 1, wanted=wanted, last_exit=exited),
    }
    assert compare(P, changed, states)[0].effect is effect
    states["p"] = SupervisorState(Down())
    if not isinstance(phase, Running):
        assert compare(P, changed, states)[0].effect is Effect.NEXT


def test_nodes_come_in_order_and_go_in_reverse() -> None:
    """Removals are told last, right-most and deepest first; a move is the supervisor's."""
    old = SupervisorSpec("p", (A, SegmentSpec("b"), SupervisorSpec("g", (A, SegmentSpec("b")))))
    new = SupervisorSpec(
        "p", (SupervisorSpec("h", (A,)), SegmentSpec("b"), A), Strategy.ONE_FOR_ALL
    )
    signs = [(one.sign, one.path) for one in compare(old, new)]
    assert signs == [
        ("~", "p"),
        ("+", "p/h"),
        ("+", "p/h/a"),
        ("-", "p/g/b"),
        ("-", "p/g/a"),
        ("-", "p/g"),
    ]
    assert [(field.name, field.old, field.new) for field in compare(old, new)[0].fields] == [
        ("strategy", Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL),
        ("order", ("a", "b"), ("b", "a")),
    ]


def test_one_spec_is_no_change() -> None:
    """The same values, made twice, are the same."""
    assert compare(P, replace(P, children=(replace(A),))) == ()
    assert compare(P, P) == tuple[Change, ...]()
