"""What happened last to a node, and what happens to it next, in words and as data.

Reads encoded specs and states only, and decides no behaviour: the core has decided, and this says
it. Every node that does not run has a cause here, and every deadline that is armed has a time.
Read next: `picture.py` (puts it into the shape of `tree --json`), `docs/json.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.cli.given import given_words, why_given_up
from supervisor.cli.words import count, countdown, exit_text, listing, size, span

Json = Mapping[str, Any]

_STOP_CAUSES = {
    "user_stop": "stop requested",
    "user_restart": "restart requested",
    "group": "restarts with its group",
    "shutdown": "its supervisor goes down",
    "deadline": "time quota used up",
    "start_timeout": "not ready in time",
    "hang": "no sign of life",
    "gave_up": "restart limit used up",
    "finished": "its significant children have completed",
}
_DEADLINES = {
    "backing_off": ("restart", "again", "until_s"),
    "starting": ("start_timeout", "start timeout", "deadline_s"),
    "running": ("deadline", "time quota ends it", "deadline_s"),
    "stopping": ("kill", "killed", "kill_at_s"),
    "killing": ("kill", "killed again", "again_at_s"),
    "supervisor_backing_off": ("restart", "again", "until_s"),
    "recycling": ("restart", "again", "hold_until_s"),
}
"""Phase -> what its deadline brings, in words, and the field that holds it."""


def restarts(spec: Json, state: Json, parent: tuple[Json, Json] | None, now_s: float) -> Json:
    """Return the restart account that limits a node: its own budget, else its supervisor's.

    Args:
        spec: of the node.
        state: of the node.
        parent: spec and state of its supervisor; None for the root, which accounts for itself.
        now_s: the steady time.
    """
    count_ever = state.get("restart_count", 0)
    budget = spec.get("budget")
    if budget is not None:
        window_s = budget["max_seconds"]
        used, of = _inside(state["restarts"], window_s, now_s), "segment"
        allowed = budget["max_restarts"]
    elif parent is None or "strategy" in spec:
        window_s, allowed, of = spec["max_seconds"], spec["max_restarts"], "supervisor"
        used = _inside(state["restarts"], window_s, now_s)
    else:
        limits, account = parent
        window_s, allowed, of = limits["max_seconds"], limits["max_restarts"], "supervisor"
        used = 0
        if count_ever:  # a sibling's restarts are no news about this one
            used = max(state["streak"], _inside(account["restarts"], window_s, now_s))
    return {
        "count": count_ever,
        "used": used,
        "allowed": allowed,
        "window_s": window_s,
        "of": of,
    }


def _inside(times_s: Sequence[float], window_s: float | None, now_s: float) -> int:
    if window_s is None:
        return len(times_s)
    return sum(1 for time_s in times_s if now_s - time_s <= window_s)


def limit_words(account: Json) -> str:
    """Return a restart limit as words.

    >>> limit_words({"allowed": 5, "window_s": 3600.0})
    '5 restarts in 1h'
    """
    window_s = account["window_s"]
    if not account["allowed"]:
        return "no restart"
    allowed = count(account["allowed"], "restart")
    return f"{allowed} in {span(window_s)}" if window_s is not None else f"{allowed} in a row"


def used_up(account: Json) -> str:
    """Return why a limit ended something.

    >>> used_up({"allowed": 3, "window_s": 60.0}), used_up({"allowed": 0, "window_s": None})
    ('3 restarts in 60s used up', 'no restart allowed')
    """
    return f"{limit_words(account)} {'used up' if account['allowed'] else 'allowed'}"


def last_exit(reason: Json | None, evidence: Json) -> dict[str, Any] | None:
    """Return how the latest finished life ended; the peak stands beside `oom` and quotas."""
    if reason is None:
        return None
    peak_bytes = evidence.get("peak_memory_bytes")
    text = exit_text(reason)
    if peak_bytes is not None and is_about_memory(reason):
        text += f" (peak {size(peak_bytes)})"
    return {
        "kind": reason["kind"],
        "detail": reason.get("detail", ""),
        "text": text,
        "peak_memory_bytes": peak_bytes,
    }


def is_about_memory(reason: Json | None) -> bool:
    """Tell whether an exit is the memory quota's doing, whoever holds it."""
    return reason is not None and (reason["kind"] == "oom" or reason.get("detail") == "memory")


def next_of_segment(spec: Json, state: Json, account: Json, now_s: float) -> Json | None:
    """Return what will happen to a segment by itself and when; None when nothing is planned."""
    phase = state["phase"]
    if phase in _DEADLINES:
        what, words, field = _DEADLINES[phase]
        if state.get(field) is not None:
            given = given_words(spec, state) if phase == "backing_off" else ""
            return _due(what, words, state[field], now_s, f" with {given}" if given else "")
        return _open("wait", "no time limit to go") if phase == "stopping" else None
    if phase == "ended" and state["how"] == "gave_up":
        return _open("nothing", f"stays down: {_why_gave_up(spec, state, account)}")
    if phase == "ended" and state["how"] != "completed":
        return _open("nothing", f"stays down: {spec['restart']}")
    if phase == "idle" and not state.get("wanted", True):
        return _open("nothing", "until psup start")
    return None


def next_of_supervisor(
    state: Json, awaited: Json | None, planned: Json | None, now_s: float
) -> Json | None:
    """Return what will happen to a supervisor by itself and when; None when nothing is planned.

    Args:
        state: encoded, of the supervisor.
        awaited: the picture of the child that it waits for, if it waits.
        planned: what is planned for that child.
        now_s: the steady time.
    """
    phase = state["phase"]
    if awaited is not None and not (phase == "recycling" and awaited["pid"] is None):
        words = f"waits for {awaited['name']}"
        if planned is None or planned["at_s"] is None:
            return _open("wait", words)
        return {**planned, "text": f"{words}, {planned['text']}"}
    if phase in _DEADLINES:
        what, words, field = _DEADLINES[phase]
        return _due(what, words, state[field], now_s)
    if phase == "supervisor_ended" and state["how"] != "completed":
        return _open("nothing", "stays down")
    return _open("nothing", "what is healthy goes on") if state.get("failed") else None


def cause(node: Json, state: Json) -> str:
    """Return the short reason for a node's present state; "" when the state says it all."""
    phase = state["phase"]
    if phase in ("supervisor_ended", "supervisor_backing_off") or state.get("failed"):
        return _cause_of_exit(node, state)
    if phase == "waiting":
        names = [path.rpartition("/")[2] for path in node["waits_for"]]
        return f"waits for {listing(names)}" if names else "waits for its supervisor"
    words = ""
    if phase in ("idle", "down"):
        words = _cause_of_rest(node) if state.get("wanted", True) else "stop requested"
    elif "why" in state:
        is_root = "/" not in node["path"]
        words = "down requested" if is_root else _STOP_CAUSES.get(state["why"]) or str(state["why"])
    elif phase == "recycling":
        words = "restarts a group"
    elif state.get("how") == "dropped":
        words = "stopped with its group"
    elif phase in ("backing_off", "ended"):
        words = node["last_exit"]["text"] if node["last_exit"] else str(state.get("how", ""))
    elif phase in ("starting", "running"):
        words = _cause_of_life(node, phase)
    return words


def _cause_of_exit(node: Json, state: Json) -> str:
    """Say why a supervisor is not up, after it went down by itself."""
    if state.get("how") == "dropped":
        return "stopped with its group"
    if (state.get("last_exit") or {}).get("kind") == "completed":
        return "its significant children have completed"
    return f"gave up: {used_up(node['restarts'])}"


def _cause_of_rest(node: Json) -> str:
    names = [path.rpartition("/")[2] for path in node["waits_for"]]
    return f"its turn comes after {listing(names)}" if names else "not its turn yet"


def progress_words(progress: Json) -> str:
    """Return how far a body says it is.

    >>> progress_words({"done": 7.0, "total": 20.0}), progress_words({"done": 7.0, "total": None})
    ('7/20', '7 done')
    """
    done, total = progress["done"], progress["total"]
    return f"{done:g} done" if total is None else f"{done:g}/{total:g}"


def _cause_of_life(node: Json, phase: str) -> str:
    """Say how a living body does: its own words first."""
    before, done = node["last_exit"], node["progress"]
    words = [progress_words(done)] if done else []
    words += [node["status"]] if node["status"] else []
    if phase == "starting":
        words = words or ["not ready yet"]
    elif not words and node["kind"] == "service":
        words = ["ready"]
    if before and node["restarts"]["used"]:
        words.append(f"after {before['text']}")
    return ", ".join(words)


def _due(what: str, words: str, at_s: float, now_s: float, more: str = "") -> Json:
    left_s = at_s - now_s
    text = f"{words} in {countdown(left_s)}" if left_s > 0 else f"{words} now"
    return {"what": what, "at_s": at_s, "text": text + more}


def _open(what: str, words: str) -> Json:
    return {"what": what, "at_s": None, "text": words}


def _why_gave_up(spec: Json, state: Json, account: Json) -> str:
    reason = state.get("last_exit") or {}
    detail = str(reason.get("detail") or "")
    if {detail, detail.partition(":")[0]} & set(spec.get("never_on") or ()):
        return "never_on says not to retry"
    return why_given_up(spec, state) or used_up(account)
