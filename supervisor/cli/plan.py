"""`psup plan`: what a file would do, before anything does it.

Only reads and prints. The file is compared with what runs (`difference.py`); with `--if` it is
rehearsed with faults (`whatif.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from supervisor.cli.arguments import examples, settings_option
from supervisor.cli.render import write
from supervisor.config import load
from supervisor.core.spec import SupervisorSpec
from supervisor.errors import EXIT_ERROR, EXIT_OK


@click.command(
    epilog=examples(
        "psup plan pipeline.yaml                      what apply would do",
        "psup plan pipeline.yaml --if train=oom",
        "psup plan pipeline.yaml --if train=hang --if serve=exit[3]",
        "psup plan pipeline.yaml --if '*=node_lost' --json",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@settings_option("Plan with this value changed. May be given often.")
@click.option(
    "--if",
    "faults",
    multiple=True,
    metavar="TARGET=FAULT",
    help="Tell what follows if these segments fail, in every life. May be given often.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its shape is in docs/json.md.")
def plan(file: Path, *, settings: tuple[str, ...], faults: tuple[str, ...], as_json: bool) -> int:
    """Say what a pipeline FILE would do. Nothing is started.

    Compares the file with what runs, over all fields, and prints + ~ - per node with what each
    change will do. Exits with 0 when nothing is different, 1 when something is.

    With --if, the pipeline is rehearsed by the very rules that run it: who stops, who starts again
    and when, who gives up, and who stays untouched. Faults: crash, error[TYPE], exit[CODE],
    signal[NAME], oom, quota[KIND], hang, start_timeout, deadline, node_lost, completed.
    """
    loaded = load(file, overrides=settings, environment=os.environ)
    told, facts, code = _rehearsal(loaded.spec, faults) if faults else _comparison(loaded.spec)
    if as_json:
        import json

        told = [json.dumps(facts, ensure_ascii=False)]
    write(told)
    return code


Told = tuple[Iterable[str], Mapping[str, Any], int]
"""Lines, the same as JSON, and the exit code."""


def _rehearsal(spec: SupervisorSpec, faults: tuple[str, ...]) -> Told:
    from supervisor.cli.whatif import what_if

    lines, facts = what_if(spec, faults)
    return lines, facts, EXIT_OK


def _comparison(spec: SupervisorSpec) -> Told:
    from supervisor.cli.difference import difference, lines
    from supervisor.cli.home import Home
    from supervisor.cli.picture import open_store

    home = Home.resolve()
    with open_store(home) as reader:
        found = difference(home, reader, spec)
    return lines(found), found.facts, EXIT_ERROR if found.changes else EXIT_OK
