"""What is different between two specs of one pipeline, and what each difference will do.

One pure function, `compare`, decides both what `psup plan` shows and what `reconfigure` does, so
that what is shown is what is done. It looks at every field of every node: a field that it does not
know is policy, which the core reads afresh at every decision, so only the few that make up a living
body are named here. Changes nothing. Read next: `reconfigure.py` (who acts on it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any

from supervisor.core.spec import NodeSpec, Path, Quota, SegmentSpec, SupervisorSpec
from supervisor.core.state import (
    BringingUp,
    Ended,
    Ending,
    NodeState,
    Recycling,
    Running,
    Starting,
    Up,
)

LIVE_QUOTAS = frozenset({"memory_bytes", "cpu_cores", "processes"})
"""Fields of `Quota` whose limit a control group can change while the body lives."""

_WORDS = frozenset({"notes", "policy"})
"""Top-level fields that only people read."""

_BODY = frozenset({"body", "kind"})
"""Top-level fields that say what a body is."""

_CORE_QUOTAS = frozenset({"time_s"})
_NEXT_LIFE = frozenset({"criticality"})


class Effect(StrEnum):
    """What a change does, from the least to the most."""

    NOTHING = "nothing"
    """Words for people."""
    NEXT = "next"
    """Holds from the next life on; there is none now, or it need not end for this."""
    LIVE = "live"
    """Holds at once; nothing is restarted."""
    START = "start"
    """A new node starts in its place."""
    RESTART = "restart"
    """The segment gets a fresh life, as if a person restarted it; nobody else does."""
    STOP = "stop"
    """The node is stopped and leaves the tree."""


_WEIGHT = {effect: weight for weight, effect in enumerate(Effect)}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that is different.

    Args:
        name: dotted, as in the spec: `quota.memory_bytes`, `body.env.BATCH`.
        old, new: the values; None where there is none. Always None for `body.env`.
        effect: what this field alone would do.
    """

    name: str
    old: Any
    new: Any
    effect: Effect


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one node.

    Args:
        path: the node.
        sign: `+` it is new, `~` it is different, `-` it leaves.
        effect: the heaviest of its fields' effects.
        fields: what is different; empty for `+` and `-`.
    """

    path: Path
    sign: str
    effect: Effect
    fields: tuple[FieldChange, ...] = ()


def compare(
    old: SupervisorSpec,
    new: SupervisorSpec,
    states: Mapping[Path, NodeState] | None = None,
    live_quotas: AbstractSet[str] = LIVE_QUOTAS,
) -> tuple[Change, ...]:
    """Return what is different, parents first, in the order of the new tree, removals last.

    Args:
        old: the spec so far.
        new: that of the same pipeline from now on.
        states: how every node is now; without it every segment counts as running.
        live_quotas: fields of `Quota` that this node can change while a body lives.

    >>> old = SupervisorSpec("p", (SegmentSpec("a"), SegmentSpec("b")))
    >>> new = SupervisorSpec("p", (SegmentSpec("b", start_timeout_s=5.0), SegmentSpec("c")))
    >>> [(one.sign, one.path, one.effect.value) for one in compare(old, new)]
    [('~', 'p/b', 'live'), ('+', 'p/c', 'start'), ('-', 'p/a', 'stop')]
    """
    return tuple(_below(old.name, old, new, states, live_quotas))


def _below(
    path: Path,
    old: SupervisorSpec,
    new: SupervisorSpec,
    states: Mapping[Path, NodeState] | None,
    live_quotas: AbstractSet[str],
) -> Iterator[Change]:
    """Yield the changes of a supervisor and of everything below it."""
    yield from _changed(path, tuple(_of_supervisor(old, new)))
    before = {child.name: child for child in old.children}
    for child in new.children:
        child_path = f"{path}/{child.name}"
        match before.get(child.name), child:
            case SupervisorSpec() as was, SupervisorSpec():
                yield from _below(child_path, was, child, states, live_quotas)
            case SegmentSpec() as was, SegmentSpec():
                found = tuple(_of_segment(was, child, live_quotas))
                yield from _changed(child_path, _in_state(child_path, found, states))
            case None, _:
                yield from _whole(child_path, child, "+", Effect.START)
            case was, _:
                assert was is not None
                yield from _whole(child_path, child, "+", Effect.START)
                yield from _whole(child_path, was, "-", Effect.STOP)
    staying = {child.name for child in new.children}
    for child in reversed(old.children):
        if child.name not in staying:
            yield from _whole(f"{path}/{child.name}", child, "-", Effect.STOP)


def _whole(path: Path, node: NodeSpec, sign: str, effect: Effect) -> Iterator[Change]:
    """Yield a node that comes or goes with all that is below it: in order, or in reverse."""
    below = node.children if isinstance(node, SupervisorSpec) else ()
    if sign == "+":
        yield Change(path, sign, effect)
    for child in below if sign == "+" else reversed(below):
        yield from _whole(f"{path}/{child.name}", child, sign, effect)
    if sign == "-":
        yield Change(path, sign, effect)


def _changed(path: Path, found: tuple[FieldChange, ...]) -> Iterator[Change]:
    if found:
        yield Change(path, "~", max((one.effect for one in found), key=_WEIGHT.__getitem__), found)


# ----------------------------------------------------------------------------------------- fields


def _of_supervisor(old: SupervisorSpec, new: SupervisorSpec) -> Iterator[FieldChange]:
    for name, was, now in _differences(old, new, skipped={"name", "children", "template"}):
        top = name.partition(".")[0]
        yield FieldChange(name, was, now, Effect.NOTHING if top in _WORDS else Effect.LIVE)
    before, after = _order(old, new), _order(new, old)
    if before != after:
        yield FieldChange("order", before, after, Effect.LIVE)


def _order(one: SupervisorSpec, other: SupervisorSpec) -> tuple[str, ...]:
    """Return the names of the children that both have, in the order of the first."""
    shared = {child.name for child in other.children}
    return tuple(child.name for child in one.children if child.name in shared)


def _of_segment(
    old: SegmentSpec, new: SegmentSpec, live_quotas: AbstractSet[str]
) -> Iterator[FieldChange]:
    for name, was, now in _differences(old, new, skipped={"name"}):
        effect = _effect_on_a_life(name, live_quotas)
        secret = name.startswith("body.env.")
        yield FieldChange(name, None if secret else was, None if secret else now, effect)


def _effect_on_a_life(name: str, live_quotas: AbstractSet[str]) -> Effect:
    """Return what a different field means for a body that lives now."""
    top, _, below = name.partition(".")
    if top in _WORDS:
        return Effect.NOTHING
    if top in _NEXT_LIFE:
        return Effect.NEXT
    if top == "quota":
        return Effect.LIVE if below in live_quotas or below in _CORE_QUOTAS else Effect.RESTART
    return Effect.RESTART if top in _BODY else Effect.LIVE


def _in_state(
    path: Path, found: tuple[FieldChange, ...], states: Mapping[Path, NodeState] | None
) -> tuple[FieldChange, ...]:
    """Return the field changes as they are for the segment as it stands.

    A body that is not there needs no restart. One that failed or was given up is started again: a
    different body is a new attempt. One that has completed stays so until a person restarts it.
    """
    if states is None or path not in states or _is_restarted(path, states):
        return found
    return tuple(
        FieldChange(one.name, one.old, one.new, Effect.NEXT)
        if one.effect is Effect.RESTART
        else one
        for one in found
    )


def _is_restarted(path: Path, states: Mapping[Path, NodeState]) -> bool:
    state = states[path]
    match state.phase:
        case Starting() | Running():
            return True
        case Ended(_, Ending.FAILED | Ending.GAVE_UP):
            above = states[path.rpartition("/")[0]].phase
            return state.wanted and isinstance(above, Up | BringingUp | Recycling)
        case _:
            return False


_TAKEN_APART = frozenset({"env", "params", "ports"})
"""Fields whose keys are shown one by one."""


def _differences(
    old: Any, new: Any, skipped: AbstractSet[str] = frozenset(), prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted name, old and new value of every field that is different."""
    for field in fields(old):
        if field.name in skipped:
            continue
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was == now:
            continue
        name = f"{prefix}{field.name}"
        if is_dataclass(was) and type(was) is type(now):
            yield from _differences(was, now, prefix=f"{name}.")
        elif field.name in _TAKEN_APART:
            for key in dict.fromkeys((*was, *now)):
                if was.get(key) != now.get(key) or (key in was) != (key in now):
                    yield f"{name}.{key}", was.get(key), now.get(key)
        else:
            yield name, was, now


assert {*LIVE_QUOTAS, *_CORE_QUOTAS} <= {field.name for field in fields(Quota)}
