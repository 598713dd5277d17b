"""What a life gets beside what is declared, and what is left after one cause, in words.

Asks the core (`core/causes.py`), so that a screen never says other than what is ordered. Only a
segment with something to tell is decoded: most have neither rules nor gifts, and every screen would
pay for them. Values of variables are not in the store; that they change is said, not to what.
Read next: `outlook.py` (who asks), docs/semantics.md, section 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supervisor.cli.words import listing, size, span

Json = Mapping[str, Any]

_LIVING = frozenset({"starting", "running", "stopping", "killing"})


def quota_given(spec: Json, state: Json) -> dict[str, float]:
    """Return the quotas of the present life, or of the next, that differ from the declared ones."""
    if not _has_something(state):
        return {}
    from supervisor.core.causes import adjustments_of

    segment, now = _decoded(spec, state)
    given = adjustments_of(segment, now, _life(state))
    return dict(given.quota) if given is not None else {}


def given_words(spec: Json, state: Json) -> str:
    """Return what the present life, or the next one, gets; "" when only what is declared.

    >>> rule = {"cause": "oom", "tries": 2, "env": {"BATCH": "half"}}
    >>> spec = {"type": "segment", "name": "a", "on_exit": [rule]}
    >>> given_words(spec, {"phase": "idle", "tries": [["oom", 1]]})
    'BATCH halved'
    """
    if not _has_something(state):
        return ""
    words = [quota_words(name, value) for name, value in quota_given(spec, state).items()]
    numbers = dict(state.get("tries") or ())
    changes: dict[str, str] = {}
    for rule in spec.get("on_exit") or ():
        number = numbers.get(rule["cause"], 0)
        changes |= {name: _change(name, how, number) for name, how in rule["env"].items() if number}
    if state.get("once") and state.get("once_for") == _life(state):
        changes |= {name: f"{name} as asked for" for name in state["once"]["env"]}
    words += changes.values()
    return listing(words) if words else ""


def attempt(spec: Json, state: Json) -> int:
    """Return the number of the next try: all restarts in a row count, whoever limits them."""
    numbers = dict(state.get("tries") or ())
    own = [rule["cause"] for rule in spec.get("on_exit") or () if rule["tries"] is not None]
    before: int = state["streak"] + sum(numbers.get(cause, 0) for cause in own)
    return before + 1


def tries_left(spec: Json, state: Json) -> str:
    """Return what is left of the tries after the latest exit; "" when other limits count it."""
    rule = _rule(spec, state)
    if rule is None or rule.tries is None:
        return ""
    used = dict(state.get("tries") or ()).get(rule.cause, 0)
    left = max(0, rule.tries - used)
    more = f"{left} more" if left else "no more"
    return f"try {used} of {rule.tries} after {rule.cause}; {more}, then it gives up, alone"


def why_given_up(spec: Json, state: Json) -> str:
    """Return what its rules say about the exit that it gave up after; "" when they say nothing."""
    rule = _rule(spec, state)
    if rule is None:
        return ""
    if not rule.retries:
        return "on_exit says not to retry"
    return "" if rule.tries is None else f"{_tries(rule.tries)} after {rule.cause} used up"


def rule_words(rule: Json) -> str:
    """Return one rule of `on_exit` as a person would say it.

    >>> grow = {"quota": "memory_bytes", "factor": 1.5, "up_to": 6442450944.0}
    >>> rule_words({"cause": "oom", "retries": True, "tries": 2, "grow": grow, "env": {}})
    'oom: 2 tries, memory x1.5 up to 6.0G'
    """
    words = [] if rule["retries"] else ["gives up"]
    words += [_tries(rule["tries"])] if rule["tries"] is not None else []
    grow = rule["grow"]
    if grow:
        name, _, most = quota_words(grow["quota"], grow["up_to"]).partition(" ")
        words.append(f"{name} x{grow['factor']:g}" + (f" up to {most}" if most else ""))
    words += [f"{name} {how or 'set'}" for name, how in rule["env"].items()]
    return f"{rule['cause']}: {', '.join(words) or 'restarted'}"


def quota_words(field: str, value: float | None) -> str:
    """Return a quota's name and amount.

    >>> quota_words("memory_bytes", 1610612736), quota_words("time_s", 90.0)
    ('memory 1.5G', 'time 90s')
    """
    name = field.removesuffix("_bytes").removesuffix("_s").removesuffix("_cores")
    if value is None:
        return name
    if field.endswith("_bytes"):
        return f"{name} {size(value)}"
    return f"{name} {span(value)}" if field.endswith("_s") else f"{name} {value:g}"


def _tries(number: int) -> str:
    return "1 try" if number == 1 else f"{number} tries"


def _has_something(state: Json) -> bool:
    return bool(state.get("tries") or state.get("once"))


def _life(state: Json) -> int:
    """Return the life that is asked about: the present one, or where nothing lives the next."""
    number: int = state.get("incarnation", 0)
    return number if state["phase"] in _LIVING else number + 1


def _change(name: str, how: str | None, number: int) -> str:
    if how not in {"half", "double"}:
        return f"{name} set"
    verb = "halved" if how == "half" else "doubled"
    return f"{name} {verb}" + (f" {number} times" if number > 1 else "")


def _rule(spec: Json, state: Json) -> Any:
    """Return the rule that holds for the latest exit, None without one."""
    if not spec.get("on_exit") or not state.get("last_exit"):
        return None
    from supervisor.core.causes import rule_for

    segment, now = _decoded(spec, state)
    found = rule_for(segment, now.last_exit)
    return found if found in segment.on_exit else None


def _decoded(spec: Json, state: Json) -> tuple[Any, Any]:
    from supervisor.core.codec import decode_spec, decode_state

    return decode_spec(spec), decode_state(state)
