"""`psup events`: what happened, in order, as lines or as JSON lines.

The journal holds everything that the core heard, ordered and reported; a person sees what people
ask about, and `--all` shows the rest. Read next: `docs/json.md` (the shape of a line).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from supervisor.cli.arguments import examples, pipeline_option, targets_argument
from supervisor.cli.home import Home
from supervisor.cli.picture import SCHEMA_VERSION, candidates, launched, open_store
from supervisor.cli.render import Terminal, terminal, write
from supervisor.cli.store_reader import JournalRow, PipelineRow, StoreReader
from supervisor.cli.targets import resolve
from supervisor.cli.words import exit_text, one_line, parse_span

Json = Mapping[str, Any]

_CHECK_S = 0.1
_MOST_AT_ONCE = 10_000
_DEFAULT_LINES = 50
_QUIET = frozenset({"Tick", "Started", "Adopt", "Release", "Answer", "stale_event"})
"""Told only with --all: they explain the program, not the pipeline."""

_GOOD = frozenset({"Ready"})
_BAD = frozenset({"gave_up", "escalated", "pipeline_failed", "unresponsive", "illegal_event"})


class Source(NamedTuple):
    """What is to be read of one pipeline.

    Args:
        pipeline: its row.
        paths: only these nodes and what is below them; the pipeline's name for all.
    """

    pipeline: PipelineRow
    paths: Sequence[str]


class Line(NamedTuple):
    """One line of the journal and the pipeline it belongs to."""

    pipeline: str
    row: JournalRow


def text(row: JournalRow) -> str:
    """Return what happened, in words."""
    tell = _WORDS.get(row.type)
    if tell is not None:
        return tell(row.data)
    return one_line(str(row.data.get("text") or row.type.lower()))


def _exited(data: Json) -> str:
    return f"life {data['incarnation']} ended: {exit_text(data['reason'])}"


def _life(words: str) -> Callable[[Json], str]:
    return lambda data: words.format(**data)


def _spec_changed(data: Json) -> str:
    changes = data["changes"]
    if not changes:
        return "asked to apply what runs already"
    return one_line(f"spec changed: {', '.join(one['sign'] + one['path'] for one in changes)}")


_WORDS: Mapping[str, Callable[[Json], str]] = {
    "Exited": _exited,
    "Started": _life("life {incarnation} has pid {pid}"),
    "Ready": _life("life {incarnation} is ready"),
    "Unresponsive": lambda data: one_line(f"no sign of life {data.get('detail', '')}"),
    "StartRequested": lambda _: "asked to start",
    "StopRequested": lambda _: "asked to stop",
    "RestartRequested": lambda _: "asked to restart",
    "DrainRequested": lambda _: "asked to go down",
    "SpecChanged": _spec_changed,
    "Tick": lambda _: "time passed",
    "Start": _life("start life {incarnation}, attempt {attempt}"),
    "Adopt": _life("adopt life {incarnation}"),
    "Adjust": _life("hold life {incarnation} to the new spec"),
    "Stop": _life("stop life {incarnation}"),
    "Kill": _life("kill life {incarnation}"),
    "Release": lambda _: "give its cell back",
    "Halt": lambda data: "the pipeline failed" if data["failed"] else "everything is down",
}


def _shown(line: Line, screen: Terminal) -> str:
    row = line.row
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.wall_s))
    return "  ".join(
        (
            screen.paint(clock, "dim"),
            screen.paint(row.path or line.pipeline, "bold"),
            screen.paint(text(row), _style(row)),
        )
    )


def _style(row: JournalRow) -> str:
    if row.type == "Exited":
        return "" if row.data["reason"]["kind"] in ("completed", "stopped") else "red"
    if row.type in _GOOD:
        return "green"
    return "red" if row.type in _BAD else ""


def _as_json(line: Line) -> str:
    import json

    row = line.row
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row.wall_s))
    facts = {
        "schema_version": SCHEMA_VERSION,
        "id": row.id,
        "at": f"{seconds}.{int(row.wall_s * 1000) % 1000:03d}Z",
        "pipeline": line.pipeline,
        "path": row.path,
        "kind": row.kind,
        "type": row.type,
        "text": text(row),
        "data": row.data,
    }
    return json.dumps(facts, ensure_ascii=False)


class Follower:
    """Reads what is new in the journals of some pipelines.

    Args:
        reader: the open store.
        sources: which pipelines and which nodes of them.
        everything: also the lines that explain only the program.
    """

    def __init__(self, reader: StoreReader, sources: Sequence[Source], *, everything: bool) -> None:
        self._reader = reader
        self._sources = sources
        self._everything = everything
        self._last_id = 0

    def new(self, since_wall_s: float | None, most: int) -> list[Line]:
        """Return the newest lines that were not returned before, in order.

        Args:
            since_wall_s: only lines at or after this Unix time.
            most: how many at most; the older ones are left out.
        """
        found: dict[int, Line] = {}
        for source in self._sources:
            for path in source.paths:
                rows = self._reader.journal(
                    source.pipeline.name, path=path, after_id=self._last_id, limit=_MOST_AT_ONCE
                )
                found.update({row.id: Line(source.pipeline.name, row) for row in rows})
        self._last_id = max(found, default=self._last_id)
        lines = [
            line
            for _, line in sorted(found.items())
            if (self._everything or line.row.type not in _QUIET)
            and (since_wall_s is None or line.row.wall_s >= since_wall_s)
        ]
        return lines[len(lines) - most :] if most < len(lines) else lines

    def follow(self) -> Iterator[list[Line]]:
        """Yield what is new whenever there is something new, for ever."""
        while True:
            time.sleep(_CHECK_S)
            if self._reader.changed() and (lines := self.new(None, _MOST_AT_ONCE)):
                yield lines


class SinceType(click.ParamType[float]):
    """A moment: so long ago (`10m`), or a local time (`14:30`, `2026-03-01 14:30`)."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return Unix seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = parse_span(value)
        moment = time.time() - seconds if seconds is not None else _moment(value)
        if moment is None:
            self.fail(f"{value!r} is no moment; write 10m, 14:30 or 2026-03-01T14:30", param, ctx)
        return moment


def _moment(value: str) -> float | None:
    from datetime import datetime

    today = time.strftime("%Y-%m-%d")
    for words in (value, f"{today} {value}"):
        try:
            return datetime.fromisoformat(words).timestamp()
        except ValueError:
            continue
    return None


def _sources(reader: StoreReader, targets: Sequence[str], pipeline: str | None) -> list[Source]:
    rows = launched(reader)
    every = candidates(reader, rows)
    wanted = targets or ((pipeline,) if pipeline else ())
    paths = resolve(wanted, every, pipeline) if wanted else [row.name for row in rows]
    return [
        Source(row, own)
        for row in rows
        if (own := [path for path in paths if path.partition("/")[0] == row.name])
    ]


@click.command(
    epilog=examples(
        "psup events",
        "psup events train --since 1h",
        "psup events -f --json | jq -r .text",
    )
)
@targets_argument(required=False)
@pipeline_option
@click.option("-f", "--follow", is_flag=True, help="Go on printing what happens.")
@click.option("--since", type=SinceType(), help="Only what happened since: 10m, 14:30, a date.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    help=f"At most so many lines of the past.  [default: {_DEFAULT_LINES}, all with --since]",
)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Also what explains only psup itself."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines; see docs/json.md.")
def events(  # noqa: PLR0913 - click passes every option
    targets: tuple[str, ...],
    *,
    pipeline: str | None,
    follow: bool,
    since: float | None,
    lines: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Print what happened, oldest first: exits with their causes, restarts, requests, give-ups."""
    screen = terminal()
    if lines is None:
        lines = _DEFAULT_LINES if since is None else _MOST_AT_ONCE

    def show(found: Sequence[Line]) -> None:
        write(_as_json(line) if as_json else _shown(line, screen) for line in found)

    with open_store(Home.resolve()) as reader:
        follower = Follower(reader, _sources(reader, targets, pipeline), everything=everything)
        show(follower.new(since, lines))
        if follow:
            for found in follower.follow():
                show(found)
