"""Values of the core as JSON-ready dictionaries, and back.

Decides nothing. What `encode_*` returns holds only dictionaries, lists or tuples, strings, numbers,
booleans and None; `decode_*` takes the same after a trip through JSON. Field names in JSON are the
field names of the dataclasses, so a new field needs no line here. Unknown keys are ignored and
missing ones take the dataclass's default: an older journal stays readable.
Read next: `state.py`, `spec.py`, `events.py`, `actions.py` (the values themselves).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from supervisor.core import actions, events, state
from supervisor.core.events import Event, ExitKind, ExitReason, RestartRequested
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
    NodeSpec,
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
from supervisor.core.state import (
    NodeState,
    Phase,
    SegmentState,
    SupervisorPhase,
    SupervisorState,
    Why,
)

Json = Mapping[str, Any]
T = TypeVar("T")

_SEGMENT_PHASES: Mapping[str, type[Phase]] = {
    "idle": state.Idle,
    "waiting": state.Waiting,
    "starting": state.Starting,
    "running": state.Running,
    "stopping": state.Stopping,
    "killing": state.Killing,
    "backing_off": state.BackingOff,
    "ended": state.Ended,
}
_SUPERVISOR_PHASES: Mapping[str, type[SupervisorPhase]] = {
    "down": state.Down,
    "bringing_up": state.BringingUp,
    "up": state.Up,
    "recycling": state.Recycling,
    "going_down": state.GoingDown,
    "supervisor_backing_off": state.SupervisorBackingOff,
    "supervisor_ended": state.SupervisorEnded,
}
PHASE_NAMES: Mapping[type[Phase | SupervisorPhase], str] = {
    cls: name for table in (_SEGMENT_PHASES, _SUPERVISOR_PHASES) for name, cls in table.items()
}
"""The word under which each phase is stored and shown."""

_EVENTS: Mapping[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        events.Started,
        events.Ready,
        events.Exited,
        events.Unresponsive,
        events.StartRequested,
        events.StopRequested,
        events.RestartRequested,
        events.DrainRequested,
        events.Tick,
    )
}


def _names(*classes: type[Any]) -> dict[type[Any], tuple[str, ...]]:
    return {cls: tuple(field.name for field in fields(cls)) for cls in classes}


_FIELDS = _names(
    *PHASE_NAMES,
    *_EVENTS.values(),
    actions.Start,
    actions.Adopt,
    actions.Adjust,
    actions.Stop,
    actions.Kill,
    actions.Release,
    actions.Report,
    actions.Answer,
    actions.Halt,
    SegmentState,
    SupervisorState,
    SegmentSpec,
    SupervisorSpec,
    Adjustments,
    Backoff,
    Body,
    Budget,
    Grow,
    Health,
    Notes,
    OnExit,
    Probe,
    Quota,
    RestartRate,
    Shutdown,
)
"""Field names by class, looked up once: this is on the path of every step."""

_NESTED = {"phase", "last_exit", "once", "storm"}
_STATE_FIELDS = {
    cls: tuple(name for name in _FIELDS[cls] if name not in _NESTED)
    for cls in (SegmentState, SupervisorState)
}


# ------------------------------------------------------------------------------------------ states


def encode_state(node: NodeState) -> dict[str, Any]:
    """Return the flat form of a node's state: its phase's name and fields, then its own.

    >>> encode_state(SegmentState(state.Waiting(since_s=3.0), incarnation=2))["phase"]
    'waiting'
    """
    phase = node.phase
    data: dict[str, Any] = {"phase": PHASE_NAMES[type(phase)]}
    for name in _FIELDS[type(phase)]:
        data[name] = getattr(phase, name)
    for name in _STATE_FIELDS[type(node)]:
        data[name] = getattr(node, name)
    data["last_exit"] = _encode_reason(node.last_exit)
    if isinstance(node, SegmentState):
        data["once"] = encode_adjustments(node.once)
    else:
        data["storm"] = None if node.storm is None else asdict(node.storm)
    return data


def decode_state(data: Json) -> NodeState:
    """Return the state that `encode_state` was given; the phase's name tells the kind of node.

    >>> decode_state(encode_state(SupervisorState(state.Up(1.0)))) == SupervisorState(state.Up(1.0))
    True
    """
    name = data["phase"]
    if name in _SEGMENT_PHASES:
        segment_phase = _SEGMENT_PHASES[name](**_phase_fields(_SEGMENT_PHASES[name], data))
        return SegmentState(segment_phase, **_own_fields(SegmentState, data))
    phase = _SUPERVISOR_PHASES[name](**_phase_fields(_SUPERVISOR_PHASES[name], data))
    return SupervisorState(phase, **_own_fields(SupervisorState, data))


def _phase_fields(cls: type[Phase | SupervisorPhase], data: Json) -> dict[str, Any]:
    found = {name: data[name] for name in _FIELDS[cls] if name in data}
    if "why" in found:
        found["why"] = Why(found["why"])
    if "how" in found:
        found["how"] = state.Ending(found["how"])
    return found


def _own_fields(cls: type[NodeState], data: Json) -> dict[str, Any]:
    found = {name: data[name] for name in _STATE_FIELDS[cls] if name in data}
    found["restarts"] = tuple(found.get("restarts", ()))
    found["last_exit"] = _decode_reason(data.get("last_exit"))
    if cls is SegmentState:
        found["tries"] = tuple((cause, number) for cause, number in data.get("tries", ()))
        found["once"] = decode_adjustments(data.get("once"))
    else:
        storm = data.get("storm")
        found["storm"] = None if storm is None else state.Storm(**storm)
    return found


def encode_adjustments(given: Adjustments | None, *, secrets: bool = True) -> Json | None:
    """Return what one life gets; without secrets, variables have their names only."""
    if given is None:
        return None
    env = dict(given.env) if secrets else dict.fromkeys(given.env)
    return {"quota": dict(given.quota), "env": env}


def decode_adjustments(data: Json | None) -> Adjustments | None:
    """Return what `encode_adjustments` was given."""
    return None if data is None else Adjustments(data.get("quota", {}), data.get("env", {}))


def _encode_reason(reason: ExitReason | None) -> dict[str, str] | None:
    return None if reason is None else {"kind": reason.kind, "detail": reason.detail}


def _decode_reason(data: Json | None) -> ExitReason | None:
    return None if data is None else ExitReason(ExitKind(data["kind"]), data.get("detail", ""))


# ------------------------------------------------------------------------------ events and actions


def encode_event(event: Event) -> dict[str, Any]:
    """Return the event's fields, under `type` the name of its class.

    >>> encode_event(events.Ready("p/a", 1))
    {'type': 'Ready', 'path': 'p/a', 'incarnation': 1}
    """
    return _encode_flat(event)


def encode_action(action: actions.Action) -> dict[str, Any]:
    """Return the action's fields, under `type` the name of its class.

    >>> encode_action(actions.Halt(failed=True))
    {'type': 'Halt', 'failed': True}
    """
    return _encode_flat(action)


def decode_event(data: Json) -> Event:
    """Return the event that `encode_event` was given."""
    cls = _EVENTS[data["type"]]
    found: dict[str, Any] = {name: data[name] for name in _FIELDS[cls] if name in data}
    if "reason" in found:
        found["reason"] = _decode_reason(found["reason"])
    if "adjustments" in found:
        found["adjustments"] = decode_adjustments(found["adjustments"])
    return cls(**found)


def _encode_flat(value: Event | actions.Action) -> dict[str, Any]:
    cls = type(value)
    data: dict[str, Any] = {"type": cls.__name__}
    for name in _FIELDS[cls]:
        field = getattr(value, name)
        if type(field) is ExitReason:
            data[name] = _encode_reason(field)
        elif type(field) is Adjustments:
            # What a person typed is part of the event; what follows from a file is not repeated.
            data[name] = encode_adjustments(field, secrets=cls is RestartRequested)
        else:
            data[name] = field
    return data


# ------------------------------------------------------------------------------------------- specs


def encode_spec(spec: NodeSpec, *, secrets: bool = True) -> dict[str, Any]:
    """Return the declared tree as nested dictionaries, each with a `type`.

    Args:
        spec: a segment, or a supervisor with everything below it.
        secrets: False leaves out the values of `body.env` (keys stay, values are None), for
            everything that is shown or stored.
    """
    data: dict[str, Any] = {"type": "segment" if isinstance(spec, SegmentSpec) else "supervisor"}
    for name in _FIELDS[type(spec)]:
        data[name] = _encode_part(getattr(spec, name), secrets=secrets)
    return data


def _encode_part(value: Any, *, secrets: bool) -> Any:
    if isinstance(value, SegmentSpec | SupervisorSpec):
        return encode_spec(value, secrets=secrets)
    if type(value) in _FIELDS:
        part = {
            name: _encode_part(getattr(value, name), secrets=secrets)
            for name in _FIELDS[type(value)]
        }
        if isinstance(value, Body) and not secrets:
            part["env"] = dict.fromkeys(value.env)
        if isinstance(value, OnExit) and not secrets:
            part["env"] = {
                name: change if change in {"half", "double"} else None
                for name, change in value.env.items()
            }
        return part
    if isinstance(value, tuple):
        return [_encode_part(item, secrets=secrets) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value


def decode_spec(data: Json) -> NodeSpec:
    """Return the spec that `encode_spec` was given, values of `env` included if it had them."""
    if data["type"] == "segment":
        return _build(SegmentSpec, data, _SEGMENT_PARTS)
    return _build(SupervisorSpec, data, _SUPERVISOR_PARTS)


def _build(cls: type[T], data: Json, parts: Mapping[str, Callable[[Any], Any]]) -> T:
    found = {}
    for name in _FIELDS[cls]:
        if name in data:
            decode = parts.get(name)
            value = data[name]
            found[name] = value if decode is None or value is None else decode(value)
    return cls(**found)


def _part(cls: type[Any], **parts: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda data: _build(cls, data, parts)


_probe = _part(Probe, argv=tuple)
_on_exit = _part(OnExit, grow=_part(Grow))
_COMMON_PARTS = {"restart": Restart, "backoff": _part(Backoff), "notes": _part(Notes)}
_SEGMENT_PARTS: Mapping[str, Callable[[Any], Any]] = {
    **_COMMON_PARTS,
    "kind": Kind,
    "after": tuple,
    "budget": _part(Budget),
    "never_on": frozenset,
    "shutdown": _part(Shutdown),
    "quota": _part(Quota),
    "health": _part(Health, ready=_probe, alive=_probe),
    "criticality": Criticality,
    "body": _part(Body, command=tuple),
    "on_exit": lambda rules: tuple(_on_exit(rule) for rule in rules),
}
_SUPERVISOR_PARTS: Mapping[str, Callable[[Any], Any]] = {
    **_COMMON_PARTS,
    "children": lambda children: tuple(decode_spec(child) for child in children),
    "template": decode_spec,
    "strategy": Strategy,
    "auto_shutdown": AutoShutdown,
    "restart_rate": _part(RestartRate),
}
