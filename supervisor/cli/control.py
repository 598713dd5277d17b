"""`psup start`, `stop` and `restart`: ask the daemon, then stay until it has come about.

A request is a row in the store and a ring at the daemon's bell. Nothing here touches a process or
decides what may happen. Read next: `waiting.py`, `outcomes.py` (when it has come about).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import click

from supervisor.cli.arguments import SPAN, examples, pipeline_option, targets_argument
from supervisor.cli.home import Home
from supervisor.cli.outcomes import Outcome, outcome
from supervisor.cli.picture import Node, View, candidates, launched, open_store, view
from supervisor.cli.render import write
from supervisor.cli.store_reader import StoreReader
from supervisor.cli.targets import resolve
from supervisor.cli.waiting import (
    Asked,
    Patience,
    ProgressLine,
    ask_for,
    awaited,
    check_daemon,
    hear_answers,
    left_alone_on_interrupt,
)
from supervisor.errors import EXIT_ERROR, EXIT_OK

Command = TypeVar("Command", bound=Callable[..., Any])


class Wish(NamedTuple):
    """What one command line asks for.

    Args:
        verb: "start", "stop" or "restart".
        targets: of which nodes.
        pipeline: only nodes of this pipeline are meant.
        waits: stay until it has come about.
        timeout_s: how long at most; None for ever.
        args: what else the request says.
    """

    verb: str
    targets: tuple[str, ...]
    pipeline: str | None
    waits: bool
    timeout_s: float | None
    args: Mapping[str, Any] = MappingProxyType({})


def fulfil(wish: Wish) -> int:
    """Ask for what is wished and return the exit code."""
    home = Home.resolve()
    with open_store(home) as reader:
        paths = resolve(wish.targets, candidates(reader, launched(reader)), wish.pipeline)
    if wish.verb == "stop" and (pipelines := [path for path in paths if "/" not in path]):
        raise click.UsageError(
            f"{pipelines[0]} is a whole pipeline; psup down {pipelines[0]} takes it down"
        )
    with left_alone_on_interrupt():
        asked = ask_for(home, wish.verb, paths, wish.args)
        taken = hear_answers(home, asked)
        code = EXIT_OK if len(taken) == len(asked) else EXIT_ERROR
        if wish.waits and taken:
            code = max(code, _see_it_happen(home, wish, taken))
    return code


def _see_it_happen(home: Home, wish: Wish, taken: Sequence[Asked]) -> int:
    """Stay until every request has come about; return the worst exit code."""
    left = list(taken)
    code = EXIT_OK
    progress = ProgressLine()
    patience = Patience(wish.timeout_s)
    with open_store(home) as reader:
        while True:
            views = _views(reader, left)
            for one in tuple(left):
                end = _outcome(wish.verb, one, views)
                if end is not None:
                    progress.clear()
                    write([f"{one.path} {end.text}"])
                    code = max(code, end.exit_code)
                    left.remove(one)
            if not left:
                return code
            node = _node(left[0], views)
            progress.show(awaited(node, len(left) - 1), f"{node['state']} {node['incarnation']}")
            for seen in views.values():
                check_daemon(seen.row)
            patience.wait(reader, f"{wish.verb} {left[0].path}", progress)


def _views(reader: StoreReader, asked: Sequence[Asked]) -> dict[str, View]:
    names = dict.fromkeys(one.path.partition("/")[0] for one in asked)
    return {name: view(reader, reader.pipeline(name)) for name in names}


def _node(one: Asked, views: Mapping[str, View]) -> Node:
    return views[one.path.partition("/")[0]].node(one.path)


def _outcome(verb: str, one: Asked, views: Mapping[str, View]) -> Outcome | None:
    return outcome(verb, _node(one, views), one.incarnation_before)


def _waiting_options(command: Command) -> Command:
    command = click.option("--timeout", type=SPAN, help="Wait so long at most; it goes on.")(
        command
    )
    return click.option(
        "--wait/--no-wait", "waits", default=True, help="Stay until it has come about (default)."
    )(command)


@click.command(
    epilog=examples(
        "psup start serve",
        "psup start training           a supervisor starts all below it, in order",
        "psup start 'e*' --no-wait",
    )
)
@targets_argument(required=True)
@pipeline_option
@_waiting_options
def start(
    targets: tuple[str, ...], *, pipeline: str | None, waits: bool, timeout: float | None
) -> int:
    """Start what was stopped, has ended, failed or gave up; takes an earlier stop back.

    Exits with 0 when it runs, 1 when refused, 3 or 5 when it failed again, 7 without a daemon.
    """
    return fulfil(Wish("start", targets, pipeline, waits, timeout))


@click.command(
    epilog=examples(
        "psup stop serve",
        "psup stop serve monitor",
        "psup stop training            a supervisor and all below it, last child first",
    )
)
@targets_argument(required=True)
@pipeline_option
@_waiting_options
def stop(
    targets: tuple[str, ...], *, pipeline: str | None, waits: bool, timeout: float | None
) -> int:
    """Stop segments; they stay down, over restarts of everything else, until you start them.

    Exits with 0 when they are down, 1 when refused, 7 without a daemon.
    """
    return fulfil(Wish("stop", targets, pipeline, waits, timeout))


@click.command(
    epilog=examples(
        "psup restart train",
        "psup restart train serve --no-wait",
        "psup restart serve --timeout 30s",
        "psup restart train --set memory=3GiB --set env.BATCH=64",
    )
)
@targets_argument(required=True)
@pipeline_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Give the next life another quota or variable. Stored until then: no secrets.",
)
@_waiting_options
def restart(
    targets: tuple[str, ...],
    *,
    pipeline: str | None,
    settings: tuple[str, ...],
    waits: bool,
    timeout: float | None,
) -> int:
    """Give segments a fresh life at once: no backoff, and no counter is touched.

    What is given with --set, a quota or `env.NAME`, holds for that one life only.

    Exits with 0 when it runs, 1 when refused, 3 or 5 when it failed again, 7 without a daemon.
    """
    given = _given(settings)
    return fulfil(Wish("restart", targets, pipeline, waits, timeout, given))


def _given(settings: Sequence[str]) -> Mapping[str, Any]:
    """Return what the next life gets, as the request says it.

    Raises:
        UsageError: a setting is none.
    """
    if not settings:
        return {}
    from supervisor.config.causes import adjustments_from
    from supervisor.config.problems import Findings
    from supervisor.core.codec import encode_adjustments

    findings = Findings()
    given = adjustments_from(settings, findings)
    if findings.errors:
        raise click.UsageError("\n".join(str(problem) for problem in findings.errors))
    return {"adjustments": encode_adjustments(given)}
