"""`psup explain restart train`: what would follow, from now on, if a segment kept failing.

Asks the core, with what is saved at this moment: restarts that are used up count, a backoff that
runs is waited for. Only reads; must stay free of Ray, sqlite-utils and YAML.
Read next: `core/foresight.py` (the forecast), `whatif.py` (the same for a file).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import click

from supervisor.cli.arguments import TARGET, examples, pipeline_option
from supervisor.cli.home import Home
from supervisor.cli.picture import candidates, launched, open_store
from supervisor.cli.render import say, write
from supervisor.cli.store_reader import StoreReader
from supervisor.cli.stored_tree import spec_of_rows
from supervisor.cli.targets import resolve
from supervisor.cli.whatif import FAULT_WORDS, fault_called, short, times, walk
from supervisor.cli.words import countdown, listing, span, state_word
from supervisor.core.events import ExitReason
from supervisor.core.foresight import Fate, Foresight, foresee
from supervisor.core.spec import Restart, SegmentSpec
from supervisor.errors import SpecError

SCHEMA_VERSION = 1

_RESTING = {
    "idle": "does not run, and nothing starts it by itself",
    "ended": "has ended, and nothing starts it by itself",
    "waiting": "waits for what stands in `after`; the count begins when it runs",
}


class Schedule(NamedTuple):
    """What is ahead of one segment.

    Args:
        path: the segment.
        spec: its declaration.
        state: its stored state.
        forecast: what follows, without jitter.
        latest_s: when it gives up at the latest; None: never.
    """

    path: str
    spec: SegmentSpec
    state: Mapping[str, Any]
    forecast: Foresight
    latest_s: float | None

    @property
    def fate(self) -> Fate:
        """What follows for the segment itself."""
        return self.forecast.fates[self.path]

    @property
    def ends_it(self) -> str:
        """The path of the node whose limit ends it, "" when none does."""
        return next(iter(_givers_up(self.path, self.forecast)), "")


def _givers_up(path: str, forecast: Foresight) -> list[str]:
    """Return which of the segment and its supervisor gives up."""
    both = (path, path.rpartition("/")[0])
    return [one for one in both if forecast.fates[one].gave_up_s is not None]


def _schedule(reader: StoreReader, path: str, reason: ExitReason) -> Schedule:
    pipeline = reader.pipeline(path.partition("/")[0])
    with reader.moment():
        rows = reader.nodes(pipeline.name)
        now_s = reader.now_s(pipeline)
    row = next(row for row in rows if row.path == path)
    if row.kind == "supervisor":
        raise SpecError(
            f"{path} is a supervisor; restarts are scheduled for segments",
            hint=f"psup explain restart '{path}/*' explains those below it",
        )
    tree = spec_of_rows(rows)
    states = {row.path: row.state for row in rows}
    nominal, slowest = (
        foresee(tree, states, {path: reason}, now_s, lean=lean) for lean in (0.0, 1.0)
    )
    latest_s = [slowest.fates[one].gave_up_s for one in _givers_up(path, slowest)]
    spec = dict(walk(tree))[path]
    assert isinstance(spec, SegmentSpec)
    return Schedule(path, spec, row.state, nominal, next(iter(latest_s), None))


def _lines(schedule: Schedule, reason: ExitReason) -> Iterator[str]:
    path, spec, fate = schedule.path, schedule.spec, schedule.fate
    yield f"{path}  {state_word(schedule.state)}  ({spec.restart.value} {spec.kind.value})"
    if path in schedule.forecast.unnoticed:
        yield "  nobody would notice: it has no `alive` probe or time quota"
        return
    if not fate.failures:
        yield f"  {_RESTING.get(schedule.state['phase'], 'is being stopped')}"
        return
    yield f"  if it fails by {reason} and every try fails at once:"
    if not fate.starts:
        never = "it is temporary" if spec.restart is Restart.TEMPORARY else "its policy says so"
        yield f"  no try follows: {fate.limit or never}"
    else:
        yield f"  tries at {times(fate.starts)}{_jitter_words(spec)}"
    yield from _end(schedule)
    yield f"  the counter clears after {span(spec.backoff.reset_after_s)} of health"


def _end(schedule: Schedule) -> Iterator[str]:
    path, forecast = schedule.path, schedule.forecast
    who = schedule.ends_it
    if not who:
        if forecast.settled_s is None:
            yield "  never gives up"
        return
    latest = (
        "never, at the longest delays"
        if schedule.latest_s is None
        else (f"after at most {countdown(schedule.latest_s)}" if schedule.latest_s else "at once")
    )
    yield f"  gives up {latest}: {forecast.fates[who].limit}"
    along = [one for one in forecast.touched if one not in {path, who} and "/" in one]
    if along:
        yield f"  touched with it: {listing([short(one) for one in along])}"
    else:
        yield "  nobody else is touched"


def _jitter_words(spec: SegmentSpec) -> str:
    share = spec.backoff.jitter
    return f" (each delay up to {share:.0%} shorter or longer)" if share else ""


def _facts(schedule: Schedule, reason: ExitReason) -> dict[str, Any]:
    fate, spec = schedule.fate, schedule.spec
    who = schedule.ends_it
    return {
        "path": schedule.path,
        "fault": str(reason),
        "tries_s": fate.starts,
        "failures_s": fate.failures,
        "jitter": spec.backoff.jitter,
        "gives_up_s": schedule.forecast.fates[who].gave_up_s if who else None,
        "gives_up_at_most_s": schedule.latest_s,
        "limit": schedule.forecast.fates[who].limit if who else "",
        "limit_of": who or None,
        "clears_after_s": spec.backoff.reset_after_s,
        "touched": list(schedule.forecast.touched),
        "noticed": schedule.path not in schedule.forecast.unnoticed,
    }


@click.command(
    epilog=examples(
        "psup explain restart train",
        "psup explain restart train --if oom",
        "psup explain restart 'digits/*' --json",
    )
)
@click.argument("topic", type=click.Choice(["restart"]))
@click.argument("targets", nargs=-1, required=True, type=TARGET, metavar="TARGET...")
@click.option(
    "--if",
    "fault",
    default="crash",
    show_default=True,
    metavar="FAULT",
    help=f"How it fails: {', '.join(FAULT_WORDS)}.",
)
@pipeline_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its shape is in docs/json.md.")
def explain(
    topic: str, targets: tuple[str, ...], *, fault: str, pipeline: str | None, as_json: bool
) -> None:
    """Explain when a segment is tried again, and how often, from this moment on.

    \b
    restart    the schedule from this moment on: tries, limit, who is touched
    """  # noqa: D301  # click reads \b as "keep these lines"
    del topic  # there is one so far
    reason = fault_called(fault)
    with open_store(Home.resolve()) as reader:
        paths = resolve(targets, candidates(reader, launched(reader)), pipeline)
        schedules = [_schedule(reader, path, reason) for path in paths]
        ownerless = [
            name
            for name in dict.fromkeys(path.partition("/")[0] for path in paths)
            if reader.pipeline(name).daemon_pid is None
        ]
    if as_json:
        import json

        facts = [_facts(schedule, reason) for schedule in schedules]
        write([json.dumps({"schema_version": SCHEMA_VERSION, "segments": facts})])
    else:
        for number, schedule in enumerate(schedules):
            write([""] * bool(number) + list(_lines(schedule, reason)))
    for name in ownerless:
        say(f"psup: no daemon runs {name}: this holds once one does")
