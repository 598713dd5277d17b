"""`psup logs`: the output of segments, one or many, past or as it comes.

Each life has a log file of its own, so `--previous` shows exactly what the life that died had to
say. Reads files and the store, asks nobody. Read next: `log_files.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from supervisor.cli.arguments import examples, pipeline_option, targets_argument
from supervisor.cli.home import Home
from supervisor.cli.log_files import Tail, complete_bytes, last_lines
from supervisor.cli.picture import candidates, launched, open_store
from supervisor.cli.render import PREFIX_COLOURS, Terminal, say, terminal, write
from supervisor.cli.store_reader import LifeRow, StoreReader
from supervisor.cli.targets import resolve, segments_below, short_names
from supervisor.cli.words import tame
from supervisor.errors import NoSuchTarget

_CHECK_S = 0.1
_LINES_OF_ONE = 100
_LINES_OF_EACH = 20


class Source(NamedTuple):
    """One segment whose output is shown.

    Args:
        path: its full path.
        prefix: painted, stands before each line; "" when it is the only segment.
    """

    path: str
    prefix: str


class LinesType(click.ParamType[int]):
    """A number of lines, or `all`; the value of `all` is -1."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if value in ("all", -1):
            return -1
        if not str(value).isdecimal():
            self.fail(f"{value!r} is no number of lines; write 20 or all", param, ctx)
        return int(value)


def _sources(names: dict[str, str], paths: Sequence[str], screen: Terminal) -> list[Source]:
    if len(paths) == 1:
        return [Source(paths[0], "")]
    width = max((len(names[path]) for path in paths), default=0)
    return [
        Source(
            path,
            screen.paint(f"{names[path]:<{width}} |", PREFIX_COLOURS[index % len(PREFIX_COLOURS)])
            + " ",
        )
        for index, path in enumerate(paths)
    ]


def _choose(lives: Sequence[LifeRow], *, previous: bool, life: int | None) -> LifeRow | None:
    """Return the life that is meant, out of those of one segment, newest first.

    The previous life is the latest that has ended: the one that people ask about after a restart,
    and also while the next one is still waited for.
    """
    if life is not None:
        return next((found for found in lives if found.incarnation == life), None)
    if previous:
        return next((found for found in lives if found.ended_s is not None), None)
    return lives[0] if lives else None


def _print(source: Source, lines: Sequence[str], screen: Terminal) -> None:
    if screen.width is not None:
        lines = [tame(line, colour=screen.colour) for line in lines]
    write(f"{source.prefix}{line}" for line in lines)


class Follower:
    """Prints what is added to the logs of segments, over all their lives to come.

    Args:
        reader: the open store.
        sources: whose logs.
        screen: where they go.
    """

    def __init__(self, reader: StoreReader, sources: Sequence[Source], screen: Terminal) -> None:
        self._reader = reader
        self._sources = sources
        self._screen = screen
        self._pipelines = sorted({source.path.partition("/")[0] for source in sources})
        self._tails: dict[str, tuple[int, Tail]] = {}

    def begin(self, most: int | None) -> None:
        """Print the last lines that are complete; what comes after them is new."""
        for path, life in self._lives().items():
            source = next((source for source in self._sources if source.path == path), None)
            if source is None or life.log is None:
                continue
            file = Path(life.log)
            end = complete_bytes(file)
            _print(source, last_lines(file, most, until=end), self._screen)
            self._tails[path] = (life.incarnation, Tail(file, at=end))

    def look(self) -> None:
        """Print what is new."""
        lives = self._lives() if self._reader.changed() else {}
        for source in self._sources:
            life = lives.get(source.path)
            number, tail = self._tails.get(source.path, (0, None))
            is_new = life is not None and life.incarnation != number
            if tail is not None:
                _print(source, tail.new_lines(ended=is_new), self._screen)
            if is_new and life is not None and life.log is not None:
                say(f"psup: {source.path}: life {life.incarnation}")
                self._tails[source.path] = (life.incarnation, Tail(Path(life.log)))

    def _lives(self) -> dict[str, LifeRow]:
        return {
            path: life
            for pipeline in self._pipelines
            for path, life in self._reader.latest_lives(pipeline).items()
        }


@click.command(
    epilog=examples(
        "psup logs train",
        "psup logs train --previous    what the life that died had to say",
        "psup logs -f                  all segments, as it comes",
        "psup logs 'e*' serve -n 5",
    )
)
@targets_argument(required=False)
@pipeline_option
@click.option("-f", "--follow", is_flag=True, help="Go on printing, over restarts.")
@click.option(
    "-n",
    "--lines",
    type=LinesType(),
    help=f"So many of the last lines, or all.  [default: {_LINES_OF_ONE}, "
    f"of several segments {_LINES_OF_EACH} each]",
)
@click.option("--previous", is_flag=True, help="Of the latest life that has ended.")
@click.option("--life", type=click.IntRange(min=1), help="Of this life (psup show lists them).")
def logs(  # noqa: PLR0913 - click passes every option
    targets: tuple[str, ...],
    *,
    pipeline: str | None,
    follow: bool,
    lines: int | None,
    previous: bool,
    life: int | None,
) -> None:
    """Print the output of segments; a supervisor stands for all that is below it."""
    if follow and (previous or life is not None):
        raise click.UsageError("--follow goes with neither --previous nor --life")
    screen = terminal()
    with open_store(Home.resolve()) as reader:
        rows = launched(reader)
        every = candidates(reader, rows)
        wanted = targets or ((pipeline,) if pipeline else ())
        up = [row.name for row in rows if row.state != "down"] or [row.name for row in rows]
        paths = segments_below(resolve(wanted, every, pipeline) if wanted else up, every)
        sources = _sources(short_names(every), paths, screen)
        if lines is None:
            lines = _LINES_OF_ONE if len(sources) == 1 else _LINES_OF_EACH
        most = None if lines < 0 else lines
        if not follow:
            _print_past(reader, sources, screen, Past(most, previous, life))
            return
        follower = Follower(reader, sources, screen)
        follower.begin(most)
        while True:
            time.sleep(_CHECK_S)
            follower.look()


class Past(NamedTuple):
    """Which part of the past is printed.

    Args:
        most: how many lines of each segment, None for all.
        previous: of the latest life that has ended.
        life: of this life.
    """

    most: int | None
    previous: bool
    life: int | None


def _print_past(
    reader: StoreReader, sources: Sequence[Source], screen: Terminal, past: Past
) -> None:
    missing = []
    for source in sources:
        found = _choose(reader.lives(source.path, 1000), previous=past.previous, life=past.life)
        if found is None or found.log is None:
            missing.append(source.path)
            continue
        _print(source, last_lines(Path(found.log), past.most), screen)
    what = f"has no life {past.life}" if past.life else "has not run yet"
    if past.previous:
        what = "has had no life that ended"
    if missing and len(missing) == len(sources):
        raise NoSuchTarget(f"{', '.join(missing)} {what}", hint=f"psup show {missing[0]}")
    for path in missing:
        say(f"psup: {path} {what}")
