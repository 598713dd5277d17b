"""`psup status`: one line per pipeline, and an exit code for scripts.

Decides nothing about health that `picture.health` has not decided. Read next: `tree.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from supervisor.cli.arguments import PIPELINE, examples, json_option
from supervisor.cli.home import Home
from supervisor.cli.picture import (
    SCHEMA_VERSION,
    View,
    complaint,
    health,
    launched,
    open_store,
    view,
    walk,
)
from supervisor.cli.render import NOTHING, STATE_COLOURS, Cell, say, table, terminal, write
from supervisor.cli.targets import resolve_pipelines
from supervisor.cli.words import age, count
from supervisor.errors import EXIT_OK

_HEADER = ("PIPELINE", "STATE", "DAEMON", "AGE", "SEGMENTS")
_ORDER = (
    "running",
    "starting",
    "waiting",
    "pending",
    "backoff",
    "failed",
    "gave_up",
    "stopping",
    "killing",
    "stopped",
    "dropped",
    "done",
)
"""States as they are counted: what works, what comes, what ails, what rests."""


def counts(seen: View) -> dict[str, int]:
    """Return how many segments are in each state, in a fixed order."""
    states = [node["state"] for node in walk(seen.root) if node["kind"] != "supervisor"]
    return {state: states.count(state) for state in _ORDER if state in states}


def state_of(seen: View) -> str:
    """Return the state of a whole pipeline, also when nobody looks after it."""
    if seen.row.state == "down":
        return "down"
    if seen.root["daemon_pid"] is None:
        return "not running"
    return str(seen.root["state"])


def _cells(seen: View) -> list[Cell]:
    numbers = counts(seen)
    words = ", ".join(f"{number} {state}" for state, number in numbers.items())
    state = state_of(seen)
    return [
        Cell(seen.row.name, "bold"),
        Cell(state, STATE_COLOURS.get(state, "")),
        Cell(str(seen.root["daemon_pid"] or NOTHING)),
        Cell(age(seen.root["age_s"]) if seen.root["age_s"] is not None else ""),
        Cell(f"{count(sum(numbers.values()), 'segment')}: {words}"),
    ]


def _facts(seen: View) -> dict[str, Any]:
    return {
        "name": seen.row.name,
        "state": state_of(seen),
        "daemon_pid": seen.root["daemon_pid"],
        "since": seen.root["since"],
        "file": seen.row.info.get("file"),
        "segments": counts(seen),
        "exit_code": health(seen),
    }


def exit_code(views: Sequence[View]) -> int:
    """Return the worst of the pipelines that are not down; of all, when all are down."""
    up = [seen for seen in views if seen.row.state != "down"]
    return max((health(seen) for seen in up or views), default=EXIT_OK)


@click.command(
    epilog=examples(
        "psup status",
        "psup status digits || psup why",
        "psup status --json | jq '.pipelines[] | select(.exit_code > 0)'",
    )
)
@click.argument("pipelines", nargs=-1, type=PIPELINE, metavar="[PIPELINE]...")
@json_option
def status(pipelines: tuple[str, ...], *, as_json: bool) -> int:
    """Say in one line per pipeline whether all is well.

    Exits with 0 when all is well (finished tasks are), 3 when something is degraded or not running,
    5 when something gave up, 7 when nothing was ever launched.
    """
    with open_store(Home.resolve()) as reader:
        rows = launched(reader)
        names = resolve_pipelines(pipelines, [row.name for row in rows])
        views = [view(reader, row) for row in rows if row.name in names]
    if as_json:
        import json

        facts = {
            "schema_version": SCHEMA_VERSION,
            "at": views[0].iso(views[0].now_s),
            "pipelines": [_facts(seen) for seen in views],
        }
        write([json.dumps(facts, ensure_ascii=False)])
        return exit_code(views)
    write(table(_HEADER, [_cells(seen) for seen in views], terminal()))
    for seen in views:
        if seen.row.state != "down" and (words := complaint(seen)):
            say(f"psup: {words}")
    return exit_code(views)
