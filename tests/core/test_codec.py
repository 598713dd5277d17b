"""Every value survives a trip through JSON, and no secret makes the trip that must not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from random_stories import draw_pipeline

from supervisor.core import actions, events, state
from supervisor.core.codec import (
    PHASE_NAMES,
    decode_event,
    decode_spec,
    decode_state,
    encode_action,
    encode_event,
    encode_spec,
    encode_state,
)
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import (
    Adjustments,
    AutoShutdown,
    Backoff,
    Body,
    Budget,
    Criticality,
    Grow,
    Health,
    Kind,
    Notes,
    OnExit,
    Probe,
    Quota,
    Restart,
    RestartRate,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.state import Ending, NodeState, SegmentState, SupervisorState, Why

OOM = ExitReason(ExitKind.OOM)

PHASES: list[state.Phase] = [
    state.Idle(),
    state.Waiting(1.0),
    state.Starting(1.0, 61.0),
    state.Running(1.0),
    state.Running(1.0, 9.0),
    state.BackingOff(1.0, 2.0),
    *(state.Stopping(1.0, kill_at_s, why) for why in Why for kill_at_s in (None, 9.0)),
    *(state.Killing(1.0, 6.0, why) for why in Why),
    *(state.Ended(1.0, how) for how in Ending),
]
SUPERVISOR_PHASES: list[state.SupervisorPhase] = [
    state.Down(),
    state.BringingUp(1.0, 4),
    state.BringingUp(1.0, 4, keeps_counters=True),
    state.Up(1.0),
    state.Recycling(1.0, 0, -1, 9.5),
    state.SupervisorBackingOff(1.0, 2.0),
    *(state.GoingDown(1.0, 3, why) for why in Why),
    *(state.SupervisorEnded(1.0, how) for how in Ending),
]
ONCE = Adjustments({"memory_bytes": 2**31}, {"BATCH": "64"})
SEGMENT_STATES = [
    SegmentState(phase, 3, wanted=False, streak=2, restarts=(1.5, 2.5), restart_count=7)
    for phase in PHASES
] + [SegmentState(last_exit=ExitReason(kind, "why")) for kind in ExitKind]
SEGMENT_STATES.append(SegmentState(tries=(("oom", 2), ("hang", 1)), once=ONCE, once_for=3))
SUPERVISOR_STATES = [
    SupervisorState(phase, 3, wanted=False, streak=2, restarts=(1.5,), failed=True, last_exit=OOM)
    for phase in SUPERVISOR_PHASES
]
SUPERVISOR_STATES.append(SupervisorState(storm=state.Storm(1.5, 40, 7.5)))
STATES: list[NodeState] = [*SEGMENT_STATES, *SUPERVISOR_STATES]
EVENTS = [
    events.Started("p/a", 1, 77, "node-1"),
    events.Ready("p/a", 1),
    *(events.Exited("p/a", 1, ExitReason(kind, "detail")) for kind in ExitKind),
    events.Unresponsive("p/a", 1, "no watchdog for 30s"),
    events.StartRequested("p/a", 5),
    events.StopRequested("p/a", 5),
    events.RestartRequested("p/a", 5),
    events.RestartRequested("p/a", 5, ONCE),
    events.DrainRequested(5),
    events.Tick(),
]
ACTIONS = [
    actions.Start("p/a", 2, 3, OOM),
    actions.Start("p/a", 1),
    actions.Start("p/a", 2, 1, None, ONCE),
    actions.Adopt("p/a", 1),
    actions.Adjust("p/a", 1),
    actions.Stop("p/a", 1),
    actions.Kill("p/a", 1),
    actions.Release("p/a", 1),
    actions.Report(actions.ReportCode.GAVE_UP, "p", "why"),
    actions.Answer(7, ok=False, code="going_down", text="why"),
    actions.Halt(failed=True),
]
FULL_SEGMENT = SegmentSpec(
    "train",
    kind=Kind.SERVICE,
    restart=Restart.TEMPORARY,
    after=("p/a", "p/b"),
    start_timeout_s=7.5,
    backoff=Backoff(0.5, 3.0, 30.0, 0.1, 90.0),
    budget=Budget(3, None),
    never_on=frozenset({"KeyError", "78"}),
    shutdown=Shutdown(None, "SIGINT"),
    quota=Quota(2**30, 1.5, 64, 1024, 2**33, 7200.0, 0.5, 2**20),
    health=Health(Probe("http", "/healthz"), Probe("exec", argv=("check", "--fast"))),
    criticality=Criticality.CRITICAL,
    body=Body(
        command=("python", "train.py"),
        folder="/srv",
        env={"TOKEN": "hunter2"},
        params={"epochs": 20, "layers": [1, 2]},
        ports={"http": 0},
    ),
    policy="training",
    notes=Notes("ml-team", "https://runbooks/train", "what it does"),
    significant=True,
    on_exit=(
        OnExit("oom", tries=2, grow=Grow("memory_bytes", 1.5, 2**32), env={"BATCH": "half"}),
        OnExit("error[ValueError]", retries=False),
    ),
)
FULL_TREE = SupervisorSpec(
    "p",
    (FULL_SEGMENT, SupervisorSpec("g", (SegmentSpec("a", body=Body(run="m:f")),))),
    strategy=Strategy.REST_FOR_ONE,
    max_restarts=9,
    max_seconds=0.5,
    restart=Restart.TRANSIENT,
    backoff=Backoff(2.0),
    notes=Notes(owner="me"),
    auto_shutdown=AutoShutdown.ALL_SIGNIFICANT,
    restart_rate=RestartRate(5, 0.5),
    significant=True,
)


def through_json(data: dict[str, Any]) -> dict[str, Any]:
    """What the store gives back."""
    back: dict[str, Any] = json.loads(json.dumps(data))
    return back


@pytest.mark.parametrize("one", STATES, ids=lambda one: f"{one.phase}-{one.last_exit}")
def test_states_come_back(one: NodeState) -> None:
    """Every phase, reason and counter, of the same types as before."""
    back = decode_state(through_json(encode_state(one)))
    assert back == one
    assert type(back.phase) is type(one.phase)
    for name in ("why", "how"):
        if hasattr(one.phase, name):
            assert type(getattr(back.phase, name)) is type(getattr(one.phase, name))


def test_every_phase_has_its_name() -> None:
    """The words that are stored are the classes' own, in snake case; none is missing."""
    assert {type(one.phase) for one in STATES} == set(PHASE_NAMES)
    for cls, name in PHASE_NAMES.items():
        assert name.replace("_", "") == cls.__name__.lower()


def test_form_of_a_state() -> None:
    """Flat: phase, its fields, then the node's own; the reader of the database relies on it."""
    running = SegmentState(state.Running(1.0, None), 3, streak=1, restarts=(0.5,), last_exit=OOM)
    assert through_json(encode_state(running)) == {
        "phase": "running",
        "since_s": 1.0,
        "deadline_s": None,
        "incarnation": 3,
        "wanted": True,
        "streak": 1,
        "restarts": [0.5],
        "restart_count": 0,
        "last_exit": {"kind": "oom", "detail": ""},
        "tries": [],
        "once": None,
        "once_for": 0,
    }


def test_older_snapshot_is_readable() -> None:
    """What was added later takes its default, what was removed is ignored."""
    old = {"phase": "bringing_up", "since_s": 1.0, "cursor": 2, "incarnation": 1, "gone": 5}
    assert decode_state(old) == SupervisorState(state.BringingUp(1.0, 2), 1)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event}")
def test_events_come_back(event: events.Event) -> None:
    """The journal holds the event itself, so that a history can be replayed."""
    back = decode_event(through_json(encode_event(event)))
    assert back == event
    if isinstance(event, events.Exited) and isinstance(back, events.Exited):
        assert type(back.reason.kind) is ExitKind


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_actions_are_plain(action: actions.Action) -> None:
    """Type and every field, as JSON knows them."""
    plain = through_json(encode_action(action))
    assert plain.pop("type") == type(action).__name__
    assert set(plain) == {field.name for field in dataclasses.fields(action)}


def test_every_event_and_action_is_tried() -> None:
    """A new class must be added to the lists above."""
    assert {type(event) for event in EVENTS} == set(events.Event.__args__)
    assert {type(action) for action in ACTIONS} == set(actions.Action.__args__)


def test_specs_come_back() -> None:
    """The whole declared tree, nested, with values of the same types as before."""
    back = decode_spec(through_json(encode_spec(FULL_TREE)))
    assert back == FULL_TREE
    assert list(types_in(back)) == list(types_in(FULL_TREE))


def types_in(value: object) -> Iterator[type]:
    """Types of a spec and all its parts: a string equals an enum of that value, and is none."""
    yield type(value)
    if isinstance(value, tuple):
        for one in value:
            yield from types_in(one)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from types_in(getattr(value, field.name))


@pytest.mark.parametrize("seed", range(20))
def test_random_specs_come_back(seed: int) -> None:
    """Whatever tree is drawn."""
    spec = draw_pipeline(Random(seed))
    assert decode_spec(through_json(encode_spec(spec))) == spec


def test_no_field_of_a_full_segment_has_its_default() -> None:
    """So that the trip above proves something for every field."""
    plain = SegmentSpec("plain")
    for field in dataclasses.fields(SegmentSpec):
        assert getattr(FULL_SEGMENT, field.name) != getattr(plain, field.name), field.name


def test_secrets_stay_at_home() -> None:
    """Names of environment variables may be shown, values never."""
    shown = json.dumps(encode_spec(FULL_TREE, secrets=False))
    assert "hunter2" not in shown
    assert '"TOKEN": null' in shown
    assert "hunter2" in json.dumps(encode_spec(FULL_TREE))
    assert "hunter2" not in repr(FULL_TREE)


def test_variables_of_one_life_are_not_repeated() -> None:
    """What a person typed is in the event; an order tells names only, as everything stored."""
    order = encode_action(actions.Start("p/a", 2, 1, None, ONCE))
    assert order["adjustments"] == {"quota": {"memory_bytes": 2**31}, "env": {"BATCH": None}}
    event = encode_event(events.RestartRequested("p/a", 5, ONCE))
    assert event["adjustments"]["env"] == {"BATCH": "64"}


def test_rules_without_secrets() -> None:
    """Halving is no secret; a text may be one."""
    spec = SegmentSpec("a", on_exit=(OnExit("oom", env={"BATCH": "half", "TOKEN": "hunter2"}),))
    (rule,) = encode_spec(spec, secrets=False)["on_exit"]
    assert rule["env"] == {"BATCH": "half", "TOKEN": None}
