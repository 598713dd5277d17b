"""`psup plan`: what a file would do, before anything does it.

Only reads and prints. With `--if` the file is rehearsed with faults (`whatif.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from supervisor.cli.arguments import examples
from supervisor.cli.render import write
from supervisor.config import load


@click.command(
    epilog=examples(
        "psup plan pipeline.yaml --if train=oom",
        "psup plan pipeline.yaml --if train=hang --if serve=exit[3]",
        "psup plan pipeline.yaml --if '*=node_lost' --json",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH.KEY=VALUE",
    help="Plan with this value changed. May be given often.",
)
@click.option(
    "--if",
    "faults",
    multiple=True,
    required=True,
    metavar="TARGET=FAULT",
    help="Tell what follows if these segments fail, in every life. May be given often.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its shape is in docs/json.md.")
def plan(file: Path, *, settings: tuple[str, ...], faults: tuple[str, ...], as_json: bool) -> None:
    """Say what a pipeline FILE would do. Nothing is started.

    With --if, the pipeline is rehearsed by the very rules that run it: who stops, who starts again
    and when, who gives up, and who stays untouched. Faults: crash, error[TYPE], exit[CODE],
    signal[NAME], oom, quota[KIND], hang, start_timeout, deadline, node_lost, completed.
    """
    loaded = load(file, overrides=settings, environment=os.environ)
    from supervisor.cli.whatif import what_if

    lines, facts = what_if(loaded.spec, faults)
    if as_json:
        import json

        lines = [json.dumps(facts, ensure_ascii=False)]
    write(lines)
