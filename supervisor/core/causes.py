"""Policy by cause: what a segment's `on_exit` says about one exit, and what it gives the next life.

Pure questions about one spec and one state; `restarts.py` asks them when a life has ended, and
`transitions.py` when one begins. What a life gets beside what is declared is never stored by
itself: it is worked out from the declared values and from how often each cause came in a row, so
that an order given again is the same order.
Read next: `spec.OnExit` (what can be said), docs/semantics.md, section 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Adjustments, Grow, Kind, OnExit, Quota, SegmentSpec
from supervisor.core.state import SegmentState

Row = tuple[tuple[str, int], ...]
"""Cause -> how often it was followed by a restart in a row; pairs, because states are values."""


def rule_for(spec: SegmentSpec, reason: ExitReason) -> OnExit | None:
    """Return what is declared for this exit: for exactly this one, else for its kind.

    >>> spec = SegmentSpec("a", on_exit=(OnExit("exit", tries=2), OnExit("exit[42]", False)))
    >>> [rule_for(spec, ExitReason(ExitKind.EXIT, code)).retries for code in ("1", "42")]
    [True, False]
    >>> rule_for(spec, ExitReason(ExitKind.OOM)) is None
    True
    """
    if not spec.on_exit and not spec.never_on:
        return None
    exact = cause_of(reason)
    declared = {rule.cause: rule for rule in spec.on_exit}
    if exact in declared:
        return declared[exact]
    if reason.kind is ExitKind.ERROR and reason.error_type in spec.never_on:
        return OnExit(exact, retries=False)
    if reason.kind is ExitKind.EXIT and reason.detail in spec.never_on:
        return OnExit(exact, retries=False)
    return declared.get(reason.kind.value)


def cause_of(reason: ExitReason) -> str:
    """Return an exit as `on_exit` names it, as exactly as it can.

    >>> cause_of(ExitReason(ExitKind.ERROR, "ValueError: no")), cause_of(ExitReason(ExitKind.OOM))
    ('error[ValueError]', 'oom')
    """
    detail = reason.error_type or reason.detail
    return f"{reason.kind.value}[{detail}]" if detail else reason.kind.value


# -------------------------------------------------------------------------------------- counting


def times(row: Row, cause: str) -> int:
    """Return how often a cause was followed by a restart in a row."""
    return next((number for name, number in row if name == cause), 0)


def counted(row: Row, cause: str) -> Row:
    """Return the row with one more of that cause.

    >>> counted((("oom", 1),), "oom"), counted((("oom", 1),), "hang")
    ((('oom', 2),), (('oom', 1), ('hang', 1)))
    """
    number = times(row, cause) + 1
    return (*(pair for pair in row if pair[0] != cause), (cause, number))


def after_healthy_run(spec: SegmentSpec, row: Row, reason: ExitReason | None) -> Row:
    """Return what is left of the row when a healthy run has ended for this reason.

    A task that ran for hours and ended as it did before has not overcome the cause.
    """
    if not row or reason is None or spec.kind is not Kind.TASK:
        return ()
    rule = rule_for(spec, reason)
    return tuple(pair for pair in row if rule is not None and pair[0] == rule.cause)


def restarts_in_row(spec: SegmentSpec, state: SegmentState) -> int:
    """Return all restarts in a row: those that limits count, and those with tries of their own."""
    own = sum(times(state.tries, rule.cause) for rule in spec.on_exit if rule.tries is not None)
    return state.streak + own


# ------------------------------------------------------------------------------- what a life gets


def adjustments_of(spec: SegmentSpec, state: SegmentState, life: int) -> Adjustments | None:
    """Return what a life gets instead of what is declared; None when that is nothing.

    Args:
        spec: of the segment.
        state: of the segment.
        life: incarnation that it is about, the present or the next one.
    """
    once = state.once if state.once_for == life else None
    if once is None and not state.tries:
        return None
    quota: dict[str, float] = {}
    env: dict[str, str] = {}
    for rule in spec.on_exit:
        number = times(state.tries, rule.cause)
        if number and rule.grow is not None:
            _grow(quota, spec.quota, rule.grow, number)
        if number:
            env.update(_changed(rule.env, {**spec.body.env, **env}, number))
    if once is not None:
        quota.update(once.quota)
        env.update(once.env)
    return Adjustments(quota, env) if quota or env else None


def adjusted(spec: SegmentSpec, adjustments: Adjustments | None) -> SegmentSpec:
    """Return the spec by which one life is to be run.

    >>> adjusted(SegmentSpec("a"), Adjustments({"processes": 7})).quota.processes
    7
    """
    if adjustments is None:
        return spec
    body = replace(spec.body, env={**spec.body.env, **adjustments.env})
    quota: dict[str, Any] = dict(adjustments.quota)
    return replace(spec, quota=replace(spec.quota, **quota), body=body)


def quota_of(spec: SegmentSpec, state: SegmentState) -> Quota:
    """Return the quota of the present life."""
    return adjusted(spec, adjustments_of(spec, state, state.incarnation)).quota


def _grow(quota: dict[str, float], declared: Quota, grow: Grow, number: int) -> None:
    """Multiply a quota from its present value, `number` times, up to its cap."""
    present = quota.get(grow.quota, getattr(declared, grow.quota))
    if present is None:
        return  # nothing was declared that could grow
    value = float(present)
    for _ in range(number):
        value *= grow.factor
        if grow.up_to is not None and value >= grow.up_to:
            value = max(float(present), grow.up_to)
            break
    quota[grow.quota] = value if grow.quota in _FRACTIONS else int(value)


_FRACTIONS = frozenset({"cpu_cores", "time_s"})


def _changed(changes: Mapping[str, str], env: Mapping[str, str], number: int) -> dict[str, str]:
    """Return variables halved or doubled `number` times, or set; what is no number stays."""
    found = {}
    for name, change in changes.items():
        value = env.get(name) or ""
        if change not in {"half", "double"}:
            found[name] = change
        elif value.isdecimal():
            shifted = int(value) >> number if change == "half" else int(value) << min(number, 64)
            found[name] = str(max(1, shifted))
    return found
