"""Whether what a person asked for has come about, judged from the picture of a node.

Pure: pictures in, a verdict out; None means that it is still under way. Asking twice changes
nothing. Read next: `control.py` (who waits), `picture.py` (what a picture holds).
"""

from __future__ import annotations

from typing import NamedTuple

from supervisor.cli.picture import Node, walk
from supervisor.errors import EXIT_DEGRADED, EXIT_ERROR, EXIT_GAVE_UP, EXIT_OK

_AT_REST = frozenset({"stopped", "done", "failed", "gave_up", "dropped"})
_AILING = {"backoff": EXIT_DEGRADED, "failed": EXIT_DEGRADED, "gave_up": EXIT_GAVE_UP}
_VERBS = {"backoff": "has ended", "failed": "has failed", "gave_up": "has given up"}


class Outcome(NamedTuple):
    """How a request ended.

    Args:
        exit_code: what it means for a script.
        text: what it means for a person.
    """

    exit_code: int
    text: str


def outcome(verb: str, node: Node, incarnation_before: int) -> Outcome | None:
    """Return how a request ended, None while it has not.

    Args:
        verb: "start", "stop" or "restart".
        node: the picture of the node now.
        incarnation_before: its incarnation when the request was written.
    """
    if verb == "stop":
        return _stopped(node)
    is_new = node["incarnation"] > incarnation_before
    if node["kind"] == "supervisor":
        return _branch_came_up(node, is_new=is_new)
    return _came_up(node, is_new=is_new)


def _stopped(node: Node) -> Outcome | None:
    still_there = any(below["pid"] is not None for below in walk(node))
    if node["wanted"] or still_there or node["state"] not in _AT_REST:
        return None
    return Outcome(EXIT_OK, f"is {node['state']} and stays down until psup start")


def _came_up(node: Node, *, is_new: bool) -> Outcome | None:
    state = node["state"]
    if state == "waiting":
        return Outcome(EXIT_OK, f"is waiting: it {node['cause']}")
    if not node["wanted"]:
        return Outcome(EXIT_ERROR, "was stopped meanwhile")
    if not is_new:
        return None
    if state in _AILING:
        return Outcome(_AILING[state], _words(node))
    life = f"life {node['incarnation']}, pid {node['pid']}"
    came = {"running": f"is running ({life})", "done": "has completed"}
    return Outcome(EXIT_OK, came[state]) if state in came else None


def _branch_came_up(node: Node, *, is_new: bool) -> Outcome | None:
    if not node["wanted"]:
        return Outcome(EXIT_ERROR, "was stopped meanwhile")
    if not is_new or any(below["state"] == "starting" for below in walk(node)):
        return None
    if node["state"] in _AILING:
        return Outcome(_AILING[node["state"]], _words(node))
    if node["phase"] != "up":
        return None
    ailing = [below for below in walk(node) if below["state"] in _AILING]
    if ailing:
        worst = max(_AILING[below["state"]] for below in ailing)
        return Outcome(worst, f"is up, but {ailing[0]['name']} {_words(ailing[0])}")
    return Outcome(EXIT_OK, "is up, with everything below")


def _words(node: Node) -> str:
    planned = node["next"]["text"] if node["next"] else ""
    words = " → ".join(part for part in (node["cause"], planned) if part)
    return f"{_VERBS[node['state']]}: {words}"
