"""`psup validate` and `psup schema`: what a pipeline file may hold, and whether one does.

Decides how problems and a valid file are shown, not what is valid. Problems are what was asked for,
so they go to stdout, one line each, as linters write them; a wrong file ends with exit code 2.
Read next: `config/problems.py` (how one problem is written), `config/keys.py` (what is allowed).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.arguments import examples, settings_option
from supervisor.cli.render import say
from supervisor.config import InvalidPipeline, load
from supervisor.config.units import format_cores, format_duration, format_size
from supervisor.core.spec import NodeSpec, Restart, SegmentSpec, SupervisorSpec
from supervisor.errors import EXIT_OK, EXIT_USAGE
from supervisor.runtime.quota_words import declared

if TYPE_CHECKING:
    from supervisor.config.pipeline import LoadedPipeline

SCHEMA_VERSION = 1
"""Of the shape of `validate --json`."""

_HOLDS = {
    "kernel": "held by the kernel",
    "sampled": "measured, and what exceeds it is killed",
    "none": "NOT held on this node (psup launch --strict-quotas refuses it)",
}
_AFTER_GIVING_UP = {
    Restart.PERMANENT: "is started again",
    Restart.TRANSIENT: "stays down",  # to its parent, giving up is a clean end
    Restart.TEMPORARY: "stays down",
}


@click.command(
    epilog=examples(
        "psup validate pipelines/digits/pipeline.yaml",
        "psup validate pipeline.yaml --set train.quota.memory=3GiB",
        "psup validate pipeline.yaml --json | jq '.problems[].message'",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@settings_option("Check the file with this value changed. May be given often.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its shape is in docs/yaml.md.")
def validate(file: Path, *, settings: tuple[str, ...], as_json: bool) -> int:
    """Check a pipeline FILE and report all of its problems at once.

    Every problem is one line, `file:line:column: key.path: what is wrong`. Nothing is started.
    Exits with 0 when the file can be launched, 2 when it must be changed first.
    """
    try:
        loaded = load(file, overrides=settings, environment=os.environ)
    except InvalidPipeline as invalid:
        if as_json:
            click.echo(json.dumps(_invalid_json(file, invalid), indent=2))
        else:
            click.echo("\n".join(map(str, invalid.problems)))
            say(f"psup: {invalid.summary}")
        return EXIT_USAGE
    from supervisor.daemon.node import make_limiter

    holds = make_limiter().holds
    if as_json:
        click.echo(json.dumps(_valid_json(file, loaded, holds), indent=2))
        return EXIT_OK
    for line in (*_tree_lines(loaded.spec), "", *quota_lines(loaded.spec, holds)):
        click.echo(line)
    for warning in loaded.warnings:
        say(f"psup: warning: {warning}")
    say(f"psup: {file} is valid")
    return EXIT_OK


@click.command(
    epilog=examples(
        "psup schema > pipeline.schema.json",
        "psup schema --policy > policy.schema.json",
    )
)
@click.option("--policy", is_flag=True, help="Print the schema of policy files instead.")
def schema(*, policy: bool) -> None:
    """Print the JSON Schema of pipeline files.

    Editors complete and check keys when a file starts with this line:

    \b
      # yaml-language-server: $schema=pipeline.schema.json
    """  # noqa: D301  # click reads \b as "keep these lines"
    from supervisor.config.schema import schema_text

    click.echo(schema_text(policy=policy), nl=False)


# ------------------------------------------------------------------------------------- the tree


def quota_lines(spec: SupervisorSpec, holds: Callable[[str], str]) -> list[str]:
    """Return how each declared quota of a pipeline is held on this node, one line each.

    Args:
        spec: the pipeline.
        holds: how this node holds a quota: "kernel", "sampled" or "none".
    """
    declarers: dict[str, list[str]] = {}
    for path, segment in _segments(spec):
        for quota in declared(segment.quota):
            declarers.setdefault(quota, []).append(path.removeprefix(f"{spec.name}/"))
    if not declarers:
        return ["no quotas declared"]
    width = max(map(len, declarers))
    return [
        f"{quota:{width}}  {_HOLDS[holds(quota)]}  ({', '.join(names)})"
        for quota, names in declarers.items()
    ]


def _segments(node: NodeSpec, above: str = "") -> Iterator[tuple[str, SegmentSpec]]:
    """Yield the path and the spec of every segment."""
    if isinstance(node, SegmentSpec):
        yield above + node.name, node
        return
    for child in node.children:
        yield from _segments(child, f"{above}{node.name}/")


def _tree_lines(root: SupervisorSpec) -> list[str]:
    rows = list(_rows(root, 0, root.name))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {facts}".rstrip() for name, facts in rows]


def _rows(node: NodeSpec, depth: int, root: str) -> Iterator[tuple[str, str]]:
    """Yield the indented name of every node and what matters most about it."""
    name = "  " * depth + node.name
    if isinstance(node, SegmentSpec):
        yield name, ", ".join(_facts(node, root))
        return
    limit = f"gives up beyond {node.max_restarts} restarts in {format_duration(node.max_seconds)}"
    fate = [f"then {_AFTER_GIVING_UP[node.restart]}"] if depth else []
    yield name, ", ".join([node.strategy, limit, *fate])
    for child in node.children:
        yield from _rows(child, depth + 1, root)


def _facts(segment: SegmentSpec, root: str) -> Iterator[str]:
    yield f"{segment.restart} {segment.kind}"
    if segment.policy:
        yield f"policy {segment.policy}"
    if segment.after:
        yield "after " + " ".join(path.removeprefix(f"{root}/") for path in segment.after)
    quota = segment.quota
    if quota.memory_bytes is not None:
        yield f"memory {format_size(quota.memory_bytes)}"
    if quota.cpu_cores is not None:
        yield f"cpu {format_cores(quota.cpu_cores)}"
    if quota.time_s is not None:
        yield f"time {format_duration(quota.time_s)}"


# ----------------------------------------------------------------------------------------- JSON


def _invalid_json(file: Path, invalid: InvalidPipeline) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "file": str(file),
        "valid": False,
        "problems": [problem.as_json() for problem in invalid.problems],
    }


def _valid_json(file: Path, loaded: LoadedPipeline, holds: Callable[[str], str]) -> dict[str, Any]:
    segments = dict(_segments(loaded.spec))
    quotas = {quota for segment in segments.values() for quota in declared(segment.quota)}
    return {
        "schema_version": SCHEMA_VERSION,
        "file": str(file),
        "valid": True,
        "pipeline": loaded.spec.name,
        "segments": list(segments),
        "enforcement": {quota: holds(quota) for quota in sorted(quotas)},
        "problems": [],
        "warnings": [warning.as_json() for warning in loaded.warnings],
    }
