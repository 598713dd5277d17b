"""What `on_exit` and `psup restart --set` mean: rules by cause, and values for one life.

Decides what needs several keys at once: whether a quota that is to grow is declared, whether a
variable that is to be halved is a number, and whether two keys say opposite things of one cause.
Read next: `keys.py` (what each key may be), `core/causes.py` (what follows from a rule).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from supervisor.config.document import Scalar
from supervisor.config.keys import ENV_NAME, GROWING, QUOTA
from supervisor.config.problems import Findings, Mark, closest, listed, shown
from supervisor.config.records import Fields
from supervisor.config.shapes import INVALID, Reading, ticked
from supervisor.core.spec import Adjustments, Grow, OnExit, Quota

FIELD_OF = {
    "memory": "memory_bytes",
    "cpu": "cpu_cores",
    "processes": "processes",
    "open_files": "open_files",
    "disk": "disk_bytes",
    "time": "time_s",
    "gpu": "gpus",
    "log": "log_bytes",
}
"""A key of `quota:` and the field of `Quota` that it becomes."""

LOST = OnExit("node_lost", tries=10)
"""What holds unless a file says otherwise: a cell or node that is lost is nobody's fault.

When Ray dies, every segment ends at once; charged to the limits for crashes, that alone would use
up those of any supervisor with more children than restarts. A node that is lost again and again
still ends it.
"""

_ONCE = tuple(name for name in FIELD_OF if name != "gpu")
"""Quotas that one life may be given; GPUs are reserved for the cell, which outlives it."""


def rules_of(
    segment: Fields, quota: Quota, env: Mapping[str, str], reading: Reading
) -> tuple[OnExit, ...]:
    """Return the rules of a segment, as far as they are right, and the one that always holds.

    Args:
        segment: everything that was read of it.
        quota: what it declares.
        env: what it declares, the file of variables included.
        reading: where problems go.
    """
    rules: Mapping[str, Fields] = segment.get("on_exit", {})
    _refuse_contradictions(segment, rules, reading)
    limits: Fields | None = segment.get("quota")
    declared = tuple(
        replace(
            _rule(cause, fields, env, reading),
            grow=_grow(fields.get("grow"), limits, quota, reading),
        )
        for cause, fields in rules.items()
    )
    return declared if LOST.cause in rules else (*declared, LOST)


def _refuse_contradictions(segment: Fields, rules: Mapping[str, Fields], reading: Reading) -> None:
    restart: Fields | None = segment.get("restart")
    hopeless = restart.get("never_on", ()) if restart else ()
    for cause, fields in rules.items():
        kind, _, exact = cause.removesuffix("]").partition("[")
        if kind in {"error", "exit"} and exact in hopeless:
            message = f"{shown(exact)} stands in `restart.never_on`, too"
            reading.error(fields.table, fields.key, message, suggestion="say it once")


def _rule(cause: str, fields: Fields, env: Mapping[str, str], reading: Reading) -> OnExit:
    """Return a rule, without what grows."""
    retries = fields.get("then", "restart") == "restart"
    for name in ("tries", "grow", "env"):
        if not retries and fields.has(name):
            message = "what gives up has no next attempt"
            reading.error(fields.mark(name), fields.path(name), message)
    changes: Mapping[str, str] = fields.get("env", {})
    for name, change in changes.items():
        if change in {"half", "double"} and not re.fullmatch("[0-9]{1,18}", env.get(name, "")):
            message = f"to {change} it, {shown(name)} must be a whole number in `env`"
            reading.error(fields.mark("env"), f"{fields.path('env')}.{name}", message)
    return OnExit(cause, retries=retries, tries=fields.get("tries"), env=changes)


def _grow(
    fields: Fields | None, limits: Fields | None, quota: Quota, reading: Reading
) -> Grow | None:
    name = next((name for name in GROWING if fields and name in fields.values), None)
    if fields is None or name is None:
        return None  # what is wrong with it was reported
    declared = getattr(quota, FIELD_OF[name])
    if declared is None:
        if limits is not None and limits.has(name):
            return None  # declared, wrongly, and reported
        hint = f"`quota: {{{name}: …}}` beside it"
        message = f"there is no `quota.{name}` that could grow"
        reading.error(fields.mark(name), fields.path(name), message, suggestion=hint)
        return None
    factor = float(fields.get(name).removeprefix("x"))
    if factor <= 1:
        reading.error(fields.mark(name), fields.path(name), "this factor lets nothing grow")
    return Grow(FIELD_OF[name], factor, _cap(fields, name, declared, reading))


def _cap(fields: Fields, name: str, declared: float, reading: Reading) -> float | None:
    """Return the most that a quota grows to, read as that quota is."""
    node = fields.table.value("up_to")
    if node is None:
        return None
    cap = QUOTA.keys[name].shape.read(node, fields.path("up_to"), reading)
    if cap is INVALID:
        return None
    if cap < declared:
        message = f"less than what `quota.{name}` is now"
        reading.error(fields.mark("up_to"), fields.path("up_to"), message)
    return float(cap)


# ------------------------------------------------------------------------------ for one attempt


def adjustments_from(texts: Iterable[str], findings: Findings) -> Adjustments:
    """Return what `--set memory=3GiB --set env.BATCH=64` gives to one life.

    Args:
        texts: the values of the options.
        findings: where problems go; then what is returned means nothing.
    """
    reading = Reading({}, findings)
    quota: dict[str, float] = {}
    env: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        mark = Mark(f"--set {name}")  # without the value, which may be a secret
        kind, _, variable = name.partition(".")
        if not equals:
            allowed = "`memory=3GiB` or `env.NAME=value`"
            reading.error(mark, "", "not a setting", found=shown(text), allowed=allowed)
        elif kind == "env":
            _variable(variable, value, env, mark, reading)
        else:
            _limit(name.removeprefix("quota."), value, quota, mark, reading)
    return Adjustments(quota, env)


def _variable(name: str, value: str, env: dict[str, str], mark: Mark, reading: Reading) -> None:
    if re.fullmatch(ENV_NAME.pattern, name, re.ASCII):
        env[name] = value
        return
    allowed = f"`env.NAME`, NAME {ENV_NAME.expected}"
    reading.error(mark, "", "a wrong name", found=shown(name), allowed=allowed)


def _limit(name: str, value: str, quota: dict[str, float], mark: Mark, reading: Reading) -> None:
    if name not in _ONCE:
        meant = QUOTA.suggest(name)
        meant = meant if meant in _ONCE else closest(name, [*_ONCE, "env"])
        allowed = f"{listed(_ONCE)} or `env.NAME`"
        suggestion = "`env.NAME`" if meant == "env" else ticked(meant)
        message = "nothing that one life can be given"
        reading.error(mark, "", message, found=shown(name), allowed=allowed, suggestion=suggestion)
        return
    node = Scalar(value, mark, plain=True, literal=True)
    limit = QUOTA.keys[name].shape.read(node, "", reading)
    if limit is not INVALID:
        quota[FIELD_OF[name]] = limit
