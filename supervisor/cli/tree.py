"""`psup tree`: every supervisor and segment, one line each, with the cause and what is next.

Decides which columns there are and which give way when the terminal is narrow; the words come from
`outlook.py`, the facts from `picture.py`. In a pipe nothing gives way and nothing is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click

from supervisor.cli.arguments import SPAN, examples, json_option, pipeline_option, targets_argument
from supervisor.cli.home import Home
from supervisor.cli.outlook import is_about_memory
from supervisor.cli.picture import (
    SCHEMA_VERSION,
    Node,
    View,
    candidates,
    complaint,
    health,
    launched,
    open_store,
    quota_name,
    view,
)
from supervisor.cli.render import (
    NOTHING,
    STATE_COLOURS,
    Cell,
    Terminal,
    say,
    table,
    terminal,
    write,
)
from supervisor.cli.store_reader import StoreReader
from supervisor.cli.targets import resolve
from supervisor.cli.words import age, listing, restarts_text, size
from supervisor.errors import EXIT_OK

HEADER = ("NODE", "STATE", "PID", "AGE", "RESTARTS", "MEMORY", "CPU", "LAST")
NOT_HELD = "NOT HELD"

_LIVE_STATES = frozenset({"starting", "running", "stopping", "killing"})
_AILING_STATES = frozenset({"backoff", "failed", "gave_up"})
_NEARLY_FULL = 0.9
_ENOUGH_FOR_LAST = 32
_PEAK = r" \(peak [^)]*\)"


class Layout(NamedTuple):
    """What is left out so that the lines fit.

    Args:
        strategy: supervisors show their strategy.
        peak: a cause shows the peak usage.
        without: columns that are not shown.
    """

    strategy: bool = True
    peak: bool = True
    without: frozenset[str] = frozenset()


_LAYOUTS = (
    Layout(),
    Layout(strategy=False),
    Layout(strategy=False, peak=False),
    Layout(strategy=False, peak=False, without=frozenset({"CPU"})),
    Layout(strategy=False, peak=False, without=frozenset({"CPU", "PID"})),
    Layout(strategy=False, peak=False, without=frozenset({"CPU", "PID", "AGE"})),
)
"""From everything to the least; cause and next event are what nobody may miss."""


def draw(roots: Sequence[Node], screen: Terminal) -> list[str]:
    """Return the lines of the screen for these trees, each root on its own."""
    nodes = [(node, branch) for root in roots for node, branch in _branches(root, "", "")]
    for layout in _LAYOUTS:
        rows = [_cells(node, branch, layout) for node, branch in nodes]
        header = [title for title in HEADER if title not in layout.without]
        if screen.width is None or _width(header, rows) <= screen.width:
            break
    return table(header, rows, screen)


def _width(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> int:
    """Return the columns that the lines need; a long LAST may be cut at its end."""
    needed = 0
    for column, title in enumerate(header):
        widest = max([len(title), *(row[column].width for row in rows)])
        is_last = column == len(header) - 1
        needed += min(widest, _ENOUGH_FOR_LAST) if is_last else widest + 2
    return needed


def _branches(node: Node, lead: str, stem: str) -> Iterator[tuple[Node, str]]:
    """Yield every node with the strokes that stand before its name."""
    yield node, lead
    last = len(node["children"]) - 1
    for index, child in enumerate(node["children"]):
        own, below = ("└─ ", "   ") if index == last else ("├─ ", "│  ")
        yield from _branches(child, stem + own, stem + below)


def _cells(node: Node, branch: str, layout: Layout) -> list[Cell]:
    is_segment = node["kind"] != "supervisor"
    strategy = f"  {node['strategy']}" if not is_segment and layout.strategy else ""
    state = node["state"]
    cells = {
        "NODE": Cell(branch + node["name"], "" if is_segment else "bold", strategy),
        "STATE": Cell(state, STATE_COLOURS.get(state, "")),
        "PID": Cell(str(node["pid"] or "")),
        "AGE": Cell(_age(node)),
        "RESTARTS": _restarts(node),
        "MEMORY": _memory(node) if is_segment else Cell(""),
        "CPU": _cpu(node) if is_segment else Cell(""),
        "LAST": _last(node, layout),
    }
    return [cell for title, cell in cells.items() if title not in layout.without]


def _age(node: Node) -> str:
    is_branch = node["kind"] == "supervisor" and "daemon_pid" not in node
    if node["age_s"] is None or (is_branch and node["phase"] == "up"):
        return ""
    return age(node["age_s"])


def _restarts(node: Node) -> Cell:
    account = node["restarts"]
    if node["kind"] == "supervisor" and not account["used"]:
        return Cell("")
    full = account["used"] >= account["allowed"] > 0
    return Cell(restarts_text(account), "red" if full else "")


def _memory(node: Node) -> Cell:
    limit = node["quota"].get("memory_bytes")
    usage = node["usage"] or {}
    used = None
    if node["state"] in _LIVE_STATES:
        used = usage.get("memory_bytes")
    elif node["state"] in _AILING_STATES and is_about_memory(node["last_exit"]):
        used = usage.get("peak_memory_bytes")
    held = node["enforcement"].get("memory", "") if limit is not None else ""
    if held == "none":
        amount = f"{size(used)}/{size(limit)}" if used is not None else size(limit)
        return Cell(f"{amount} {NOT_HELD}", "red")
    if used is None and node["state"] not in _LIVE_STATES:
        return Cell(NOTHING)
    words = size(used) if used is not None else NOTHING
    if limit is None:
        return Cell(words)
    style = "yellow" if used is not None and used >= _NEARLY_FULL * limit else ""
    return Cell(f"{words}/{size(limit)} {held}".rstrip(), style)


def _cpu(node: Node) -> Cell:
    cores = (node["usage"] or {}).get("cpu_cores")
    words = f"{cores * 100:.0f}%" if cores is not None else NOTHING
    if "cpu_cores" in node["quota"] and node["enforcement"].get("cpu") == "none":
        return Cell(f"{words} {NOT_HELD}", "red")
    return Cell(words)


def _last(node: Node, layout: Layout) -> Cell:
    planned = node["next"]
    cause = node["cause"] if layout.peak else re.sub(_PEAK, "", node["cause"])
    words = " → ".join(part for part in (cause, planned["text"] if planned else "") if part)
    loose = _loose_quotas(node)
    if loose:
        words = f"{words}; {listing(loose)} {NOT_HELD}" if words else f"{listing(loose)} {NOT_HELD}"
    if not words and node["kind"] != "supervisor":
        words = NOTHING
    return Cell(words, "red" if loose else STATE_COLOURS.get(node["state"], ""))


def _loose_quotas(node: Node) -> list[str]:
    """Return the declared quotas that nobody holds, those with a column of their own left out."""
    names = {quota_name(field) for field in node["quota"]} - {"memory", "cpu"}
    return sorted(name for name in names if node["enforcement"].get(name) == "none")


# --------------------------------------------------------------------------------------- command


class Question(NamedTuple):
    """What of all pipelines is to be shown."""

    targets: tuple[str, ...]
    pipeline: str | None
    everything: bool


def look(reader: StoreReader, question: Question) -> list[View]:
    """Return the pipelines that the question is about, with the branches that it is about.

    Without targets these are the pipelines that are not down, or all when all are down.

    Raises:
        NoSuchTarget: a target fits no node.
        NotRunning: nothing was ever launched.
    """
    rows = launched(reader)
    if question.targets or question.pipeline:
        wanted = question.targets or (question.pipeline or "",)
        paths = resolve(wanted, candidates(reader, rows), question.pipeline)
        names = {path.partition("/")[0] for path in paths}
        views = [view(reader, row) for row in rows if row.name in names]
        return [
            seen._replace(root={**seen.root, **(_pruned(seen.root, paths) or {})}) for seen in views
        ]
    up = [row for row in rows if row.state != "down"]
    return [view(reader, row) for row in (rows if question.everything else up or rows)]


def _pruned(node: Node, paths: Sequence[str]) -> Node | None:
    """Return the node with only the branches that lead to or lie below the paths."""
    path = node["path"]
    if any(path == wanted or path.startswith(wanted + "/") for wanted in paths):
        return node
    if not any(wanted.startswith(path + "/") for wanted in paths):
        return None
    children = [_pruned(child, paths) for child in node["children"]]
    return {**node, "children": [child for child in children if child is not None]}


def document(views: Sequence[View]) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "at": views[0].iso(views[0].now_s),
        "pipelines": [seen.root for seen in views],
    }


def worst(codes: Sequence[int]) -> int:
    """Return the exit code that says most: gave up before degraded before fine."""
    return max(codes, default=EXIT_OK)


def _lines(views: Sequence[View], screen: Terminal, *, as_json: bool) -> list[str]:
    if not as_json:
        return draw([seen.root for seen in views], screen)
    import json

    indent = 2 if screen.width is not None else None
    return [json.dumps(document(views), ensure_ascii=False, indent=indent)]


def _frame(views: Sequence[View], screen: Terminal, *, as_json: bool) -> list[str]:
    """Return the lines of a watched screen: what would go to stderr stands below."""
    lines = _lines(views, screen, as_json=as_json)
    return lines if as_json else [*lines, *filter(None, map(complaint, views))]


@click.command(
    epilog=examples(
        "psup tree",
        "psup tree --watch",
        "psup tree training            only this branch",
        "psup tree --json | jq '.pipelines[].state'",
    )
)
@targets_argument(required=False)
@pipeline_option
@click.option("-a", "--all", "everything", is_flag=True, help="Show pipelines that are down, too.")
@click.option("-w", "--watch", "watching", is_flag=True, help="Draw again on every change.")
@click.option(
    "--interval",
    type=SPAN,
    default="1s",
    show_default=True,
    help="With --watch: at least so often.",
)
@json_option
def tree(  # noqa: PLR0913 - click passes every option
    targets: tuple[str, ...],
    *,
    pipeline: str | None,
    everything: bool,
    watching: bool,
    interval: float,
    as_json: bool,
) -> int:
    """Show every supervisor and segment, with the last cause and the next event.

    Exits with 0 when all is well (finished tasks are), 3 when something is degraded or not running,
    5 when something gave up.
    """
    question = Question(targets, pipeline, everything)
    with open_store(Home.resolve()) as reader:
        if watching:
            from supervisor.cli.watch import watch

            watch(
                lambda screen: _frame(look(reader, question), screen, as_json=as_json),
                reader.changed,
                interval,
            )
        views = look(reader, question)
    write(_lines(views, terminal(), as_json=as_json))
    for seen in views:
        if words := complaint(seen):
            say(f"psup: {words}")
    return worst([health(seen) for seen in views])
