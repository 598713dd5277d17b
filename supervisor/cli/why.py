"""`psup why`: what happened, what happens next, who else was touched, and what to type.

Only prints; the story is told in `story.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from supervisor.cli.arguments import examples, json_option, pipeline_option, targets_argument
from supervisor.cli.home import Home
from supervisor.cli.picture import (
    SCHEMA_VERSION,
    View,
    candidates,
    complaint,
    launched,
    open_store,
    view,
    walk,
)
from supervisor.cli.render import STATE_COLOURS, Terminal, fields, say, terminal, write
from supervisor.cli.store_reader import StoreReader
from supervisor.cli.story import Story, Teller
from supervisor.cli.targets import resolve, short_names

_AILING_STATES = frozenset({"backoff", "failed", "gave_up"})
_PARTS = (
    ("What happened", "happened"),
    ("What happens next", "ahead"),
    ("Who else was touched", "touched"),
)


def _lines(story: Story, screen: Terminal) -> Iterator[str]:
    node = story.node
    kind = node.get("strategy") or f"{node['kind']}, {node['restart']}"
    state = screen.paint(node["state"], STATE_COLOURS.get(node["state"], ""))
    yield f"{screen.paint(node['path'], 'bold')}  {state}  {screen.paint(f'({kind})', 'dim')}"
    if "description" in node["notes"]:
        yield node["notes"]["description"]
    for title, part in _PARTS:
        lines: list[str] = getattr(story, part)
        if lines:
            yield ""
            yield screen.paint(title, "bold")
            yield from (text for line in lines for text in _wrapped(line, screen))
    if story.advice:
        yield ""
        yield screen.paint("What to type", "bold")
        yield from fields(story.advice, indent="  ")


def _wrapped(line: str, screen: Terminal) -> list[str]:
    """Return a sentence in lines that fit; what was quoted stays as it is, to be copied."""
    if screen.width is None or line.startswith("    "):
        return [f"  {line}"]
    import textwrap

    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(
        line.lstrip(),
        max(40, screen.width - 1),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _facts(story: Story, seen: View) -> dict[str, Any]:
    return {
        "path": story.node["path"],
        "state": story.node["state"],
        "happened": story.happened,
        "next": story.ahead,
        "touched": story.touched,
        "advice": [advice._asdict() for advice in story.advice],
        "lives": [
            {
                "incarnation": life.incarnation,
                "started": seen.iso(life.started_s),
                "ready": seen.iso(life.ready_s),
                "ended": seen.iso(life.ended_s),
                "pid": life.pid,
                "reason": {"kind": life.reason_kind, "detail": life.reason_detail},
                "log": life.log,
                "evidence": life.evidence,
            }
            for life in story.lives
        ],
        "node": story.node,
    }


def _stories(
    reader: StoreReader, targets: Sequence[str], pipeline: str | None
) -> list[tuple[View, Story]]:
    """Return the stories of the targets; without targets, of every segment that ails."""
    rows = launched(reader)
    every = candidates(reader, rows)
    names = short_names(every)
    chosen = resolve([pipeline] if pipeline else [], every) if not targets else []
    paths = resolve(targets, every, pipeline) if targets else []
    wanted = {path.partition("/")[0] for path in paths or chosen}
    if not wanted:
        wanted = {row.name for row in rows if row.state != "down"} or {row.name for row in rows}
    stories: list[tuple[View, Story]] = []
    for row in rows:
        if row.name not in wanted:
            continue
        seen = view(reader, row)
        own = [path for path in paths if path.partition("/")[0] == row.name]
        teller = Teller(reader, seen, names)
        stories += [(seen, teller.tell(path)) for path in (own if targets else _ailing(seen))]
    return stories


def _ailing(seen: View) -> list[str]:
    return [
        node["path"]
        for node in walk(seen.root)
        if node["kind"] != "supervisor" and node["state"] in _AILING_STATES
    ]


@click.command(
    epilog=examples(
        "psup why                      everything that is not well",
        "psup why train",
        "psup why training --json",
    )
)
@targets_argument(required=False)
@pipeline_option
@json_option
def why(targets: tuple[str, ...], *, pipeline: str | None, as_json: bool) -> None:
    """Explain what happened, with evidence, what happens next, and what to type."""
    with open_store(Home.resolve()) as reader:
        stories = _stories(reader, targets, pipeline)
    if as_json:
        import json

        facts = {
            "schema_version": SCHEMA_VERSION,
            "nodes": [_facts(story, seen) for seen, story in stories],
        }
        write([json.dumps(facts, ensure_ascii=False)])
        return
    if not stories:
        write(["nothing is wrong: no segment failed, gave up or waits to be started again"])
        return
    screen = terminal()
    for number, (_, story) in enumerate(stories):
        write([""] * bool(number) + list(_lines(story, screen)))
    for words in {complaint(seen): None for seen, _ in stories}:
        if words:
            say(f"psup: {words}")
