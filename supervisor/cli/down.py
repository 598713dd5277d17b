"""`psup down`: take whole pipelines down and stay until no process of them is left.

Down means that the daemon and its parent are gone as well: then nothing can come back by itself.
Read next: `waiting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from supervisor.cli.arguments import PIPELINE, SPAN, examples
from supervisor.cli.home import Home
from supervisor.cli.picture import launched, open_store, view
from supervisor.cli.render import say, write
from supervisor.cli.store_reader import PipelineRow, StoreReader
from supervisor.cli.targets import resolve_pipelines
from supervisor.cli.waiting import (
    Patience,
    ProgressLine,
    ask_for,
    awaited,
    cares,
    hear_answers,
    left_alone_on_interrupt,
)
from supervisor.cli.words import listing
from supervisor.errors import SupervisorError


def _chosen(rows: Sequence[PipelineRow], wanted: Sequence[str], *, everything: bool) -> list[str]:
    """Return the pipelines to take down: the named ones, all, or the only one there is."""
    if wanted:
        return resolve_pipelines(wanted, [row.name for row in rows])
    up = [row.name for row in rows if row.owner is not None]
    if len(up) > 1 and not everything:
        raise click.UsageError(f"{listing(up)} are up; name one, or use --all")
    return up


def _take_down(home: Home, names: Sequence[str], timeout_s: float | None) -> None:
    """Ask for it and stay until no process of these pipelines is left."""
    with open_store(home) as reader:
        owners = {name: reader.pipeline(name).owner for name in names}
    hear_answers(home, ask_for(home, "down", names))
    progress = ProgressLine()
    patience = Patience(timeout_s)
    left = list(names)
    with open_store(home) as reader:
        while left:
            for name in tuple(left):
                owner = owners[name]
                if owner is None or not cares(owner):
                    progress.clear()
                    _tell_end(reader, name)
                    left.remove(name)
            if left:
                seen = view(reader, reader.pipeline(left[0]))
                words = awaited(seen.root, len(left) - 1)
                if seen.root["phase"] == "down":
                    words = f"{left[0]}: all segments are down, its daemon tidies up"
                progress.show(words, f"{seen.root['phase']} {seen.root['waits_for']}")
                patience.wait(reader, f"down {left[0]}", progress)


def _tell_end(reader: StoreReader, name: str) -> None:
    row = reader.pipeline(name)
    if row.owner is not None:  # who leaves in order gives the pipeline back last
        raise SupervisorError(
            f"the daemon of {name} ended before everything was down",
            hint=f"psup launch {row.info.get('file', 'FILE')}, then psup down {name} again",
        )
    write([f"{name} is down"])


@click.command(
    epilog=examples(
        "psup down                     the only pipeline that is up",
        "psup down digits --timeout 1m",
        "psup down --all",
    )
)
@click.argument("pipelines", nargs=-1, type=PIPELINE, metavar="[PIPELINE]...")
@click.option("-p", "--pipeline", type=PIPELINE, help="The same as naming it.")
@click.option("-a", "--all", "everything", is_flag=True, help="All pipelines of $PSUP_HOME.")
@click.option(
    "--wait/--no-wait", "waits", default=True, help="Stay until everything is gone (default)."
)
@click.option("--timeout", type=SPAN, help="Wait so long at most; it goes on.")
def down(
    pipelines: tuple[str, ...],
    *,
    pipeline: str | None,
    everything: bool,
    waits: bool,
    timeout: float | None,
) -> None:
    """Stop whole pipelines in reverse start order, and stay until no process is left.

    Exits with 0 when everything is gone, 6 after --timeout, 7 without a daemon.
    """
    home = Home.resolve()
    with open_store(home) as reader:
        rows = launched(reader)
    wanted = (*pipelines, pipeline) if pipeline else pipelines
    names = _chosen(rows, wanted, everything=everything)
    resting = [row.name for row in rows if row.owner is None]
    going = [name for name in names if name not in resting]
    for name in names:
        if name in resting:
            say(f"psup: {name} is down already")
    if not names:
        say("psup: nothing is up")
    with left_alone_on_interrupt():
        if not waits:
            hear_answers(home, ask_for(home, "down", going))
        elif going:
            _take_down(home, going, timeout)
