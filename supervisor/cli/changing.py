"""`psup apply` and `psup set`: change a pipeline while it runs, with the least disturbance.

What was typed becomes a spec, or fields of one, and goes to the daemon in memory: values of `env:`
are in it, and the store must never see them. The daemon refuses or does it, in one step; what it
did is told from what `plan` would have shown. Decides nothing about nodes.
Read next: `difference.py` (what is shown), `daemon/blueprints.py` (who takes it).
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from supervisor.cli.arguments import TARGET, examples, pipeline_option, settings_option
from supervisor.cli.asking import ask, wait_for_answer
from supervisor.cli.difference import (
    Difference,
    difference,
    lines,
    with_applied_fields,
    with_count,
)
from supervisor.cli.home import Home
from supervisor.cli.picture import candidates, launched, open_store
from supervisor.cli.render import say, write
from supervisor.cli.targets import resolve
from supervisor.config import load
from supervisor.core.changes import compare
from supervisor.core.codec import encode_spec
from supervisor.daemon.wakeup import hand_over
from supervisor.errors import EXIT_ERROR, EXIT_OK, EXIT_USAGE, AnotherPipeline, NotRunning

_ANSWER_TIMEOUT_S = 10.0
_USERS_FAULT = frozenset({"another_pipeline", "node_changed_kind", "invalid_spec"})
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@click.command(
    epilog=examples(
        "psup plan pipeline.yaml && psup apply pipeline.yaml",
        "psup apply pipeline.yaml --set train.quota.memory=3GiB",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@settings_option("Apply with this value changed. May be given often.")
@pipeline_option
def apply(file: Path, *, settings: tuple[str, ...], pipeline: str | None) -> int:
    """Make the running pipeline what its FILE says, with the least disturbance.

    Policies, limits and notes hold at once and restart nothing. A segment whose body is another
    one is restarted, alone. What is gone from the file is stopped, last first; what is new starts
    in its place. Your stops stay. psup plan FILE shows all of it beforehand.

    Exits with 0 when it was taken, 1 when refused, 2 when the file is wrong, 7 without a daemon.
    """
    loaded = load(file, overrides=settings, environment=os.environ)
    name = loaded.spec.name
    if pipeline is not None and pipeline != name:
        raise AnotherPipeline(
            f"{file} is pipeline {name}, not {pipeline}",
            hint=f"psup launch {file} starts {name} beside it",
        )
    home = Home.resolve()
    with open_store(home) as reader:
        found = difference(home, reader, loaded.spec)
    return _change(home, "apply", name, {"spec": encode_spec(loaded.spec)}, found)


@click.command(
    name="set",
    epilog=examples(
        "psup set train quota.memory=3GiB",
        "psup set serve budget.max_restarts=10 owner=ann",
        "psup set training max_restarts=3",
    ),
)
@click.argument("target", type=TARGET)
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
@pipeline_option
def set_(target: str, settings: tuple[str, ...], *, pipeline: str | None) -> int:
    """Change single values of one node while it runs, without a file.

    What the kernel can change in a living body (memory, cpu, processes) holds at once. Less memory
    than is in use is refused. The file is not changed: the next apply sets what it says.

    Exits with 0 when it was taken, 1 when refused, 2 when a value is wrong, 4 without such a node.
    """
    home = Home.resolve()
    with open_store(home) as reader:
        (path,) = resolve([target], candidates(reader, launched(reader)), pipeline)
        name = path.partition("/")[0]
        row = next(row for row in reader.nodes(name) if row.path == path)
        fields = typed_fields(row.kind, row.spec, settings, os.environ)
        found = with_applied_fields(home, reader, path, fields)
    return _change(home, "set", path, {"set": {path: fields}}, found)


@click.command(epilog=examples("psup scale serve=3", "psup scale serve=1"))
@click.argument("wish", metavar="TARGET=N")
@pipeline_option
def scale(wish: str, *, pipeline: str | None) -> int:
    """Run another number of instances of a segment that has `replicas`.

    New ones start side by side; extra ones stop, the highest number first. The file is not changed.

    Exits with 0 when it was taken, 1 when refused, 4 without such a node, 7 without a daemon.
    """
    target, equals, number = wish.rpartition("=")
    if not equals or not number.isdecimal():
        raise click.UsageError(f"{wish!r} is not TARGET=N; write psup scale serve=3")
    home = Home.resolve()
    with open_store(home) as reader:
        (path,) = resolve([target], candidates(reader, launched(reader)), pipeline)
        found = with_count(reader, path, int(number))
    return _ask(home, "scale", path, {"count": int(number)}, found)


def typed_fields(
    kind: str, spec: Mapping[str, Any], settings: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return dotted fields of the spec and their values, held to the rules of pipeline files.

    Args:
        kind: of the node: "task", "service" or "supervisor".
        spec: the node as it is stored.
        settings: what was typed.
        environment: for `${VAR}`.

    Raises:
        InvalidPipeline: a key or a value is wrong; said as of a `--set`.
    """
    body = spec.get("body") or {}
    node: dict[str, Any] = {"command": ["true"], "kind": kind}
    if body.get("ports"):
        node["ports"] = dict.fromkeys(body["ports"], "auto")
    if kind == "supervisor":
        node = {"children": {"x": {"command": ["true"]}}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(json.dumps({"pipeline": "p", "children": {"node": node}}), encoding="utf-8")
        before = load(file, environment=environment).spec
        overrides = [f"node.{setting}" for setting in settings]
        after = load(file, overrides=overrides, environment=environment).spec
    data = encode_spec(after)["children"][0]
    return {
        field.name: _at(data, field.name)
        for change in compare(before, after)
        for field in change.fields
    }


def _at(data: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        data = data[name]
    return data


def _change(home: Home, verb: str, path: str, content: Mapping[str, Any], found: Difference) -> int:
    """Hand the change over, ask for it, and tell the answer; return the exit code."""
    name, key = path.partition("/")[0], uuid.uuid4().hex
    descriptor = _in_memory(content)
    try:
        delivered = hand_over(home.root, name, key, descriptor)
    finally:
        os.close(descriptor)
    if not delivered:
        raise NotRunning(f"pipeline {name} is not running", hint="psup launch FILE starts it")
    return _ask(home, verb, path, {"parcel": key}, found)


def _ask(home: Home, verb: str, path: str, args: Mapping[str, Any], found: Difference) -> int:
    name = path.partition("/")[0]
    request = ask(home.state_db, verb, path, args)
    home.wake(name)
    row = wait_for_answer(home.state_db, request, _ANSWER_TIMEOUT_S)
    if not row.ok:
        say(f"psup: {verb} {path} was refused ({row.code}): {row.text}")
        return EXIT_USAGE if row.code in _USERS_FAULT else EXIT_ERROR
    write(lines(found))
    say(f"psup: {name}: {row.text} (psup tree {name} shows how it goes)")
    return EXIT_OK


def _in_memory(content: Mapping[str, Any]) -> int:
    """Return the descriptor of a sealed memory file; it never touches a disk."""
    descriptor = os.memfd_create("psup-change", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as memory:
        memory.write(json.dumps(content).encode())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor
