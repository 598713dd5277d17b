"""`psup init`: write a small pipeline that works, to look at, run and change.

Decides what a newcomer meets first: two tasks, a service, and a comment for each idea. Never writes
over a file that is there. What it writes must always pass `psup validate` and run under
`psup launch`; tests hold it to both.
Read next: `docs/semantics.md` (what the keys mean), `pipelines/digits/` (a larger example).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from supervisor.cli.arguments import examples
from supervisor.cli.render import say
from supervisor.errors import SupervisorError

LONGEST_NAME = 63

PIPELINE = """\
# yaml-language-server: $schema=pipeline.schema.json
#
# A pipeline is a tree: whatever has `children` is a supervisor, all else is a segment.
# Each segment runs in a process of its own and can fail without the others.

pipeline: @NAME@
description: Roll dice, add up what they show, and tell whoever asks.

children:
  numbers:
    strategy: rest_for_one # when a child is restarted, so are those that stand below it
    children:
      roll: # a task: runs to its end, once
        run: steps:roll # the function `roll` in steps.py, called with a Context
        quota: {memory: 256MiB, cpu: 0.25, time: 1m}
        params: {dice: 200} # ctx.params; for one launch: --set roll.dice=50
      add-up:
        run: steps:add_up
        after: [roll] # waits until roll has completed
        quota: {memory: 256MiB, cpu: 0.25, time: 1m}
        restart: # after a failure: again in 1s, then 2s, then 4s, then give up
          type: transient
          backoff: {first: 1s, factor: 2, max: 30s}
          max_restarts: 3
          max_seconds: 10m

  answer: # a service: runs until it is stopped, is always started again
    kind: service
    run: steps:answer
    after: [add-up]
    ports: {http: auto} # a free port, the same over all restarts: ctx.port("http")
    ready: {http: /} # counts as running only once it answers
    quota: {memory: 256MiB, cpu: 0.25}

  # Any program can be a segment; it is told the same through PSUP_... variables:
  #
  # archive:
  #   command: [tar, czf, /tmp/numbers.tgz, steps.py]
  #   after: [add-up]
"""

STEPS = '''\
"""The segments of this pipeline. Each function is called with a Context, in its own process."""

import json
import random
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from supervisor.body import Context


def roll(ctx: Context) -> None:
    """Roll the dice and keep what they show in the folder that all segments share."""
    dice = int(ctx.params["dice"])
    rolled = []
    for number in range(dice):
        rolled.append(random.randint(1, 6))
        ctx.progress(number + 1, dice)  # shown by `psup show roll`
        ctx.stopping.wait(0.01)  # slow on purpose, so that there is something to see
    (ctx.data / "rolled.json").write_text(json.dumps(rolled))


def add_up(ctx: Context) -> None:
    """Add up what was rolled. Try `raise ValueError("...")` here, and then `psup why add-up`."""
    rolled = json.loads((ctx.data / "rolled.json").read_text())
    (ctx.data / "sum.json").write_text(json.dumps({"dice": len(rolled), "sum": sum(rolled)}))
    ctx.status(f"{len(rolled)} dice show {sum(rolled)}")


def answer(ctx: Context) -> None:
    """Tell the sum over HTTP until a stop is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((ctx.data / "sum.json").read_bytes() + b"\\n")

    server = HTTPServer(("127.0.0.1", ctx.port("http")), Handler)
    Thread(target=server.serve_forever).start()
    ctx.logger.info("listening on port %d", ctx.port("http"))
    ctx.stopping.wait()
    server.shutdown()
'''


@click.command(epilog=examples("psup init", "psup init ~/projects/dice", "psup init ."))
@click.argument(
    "folder", default="my-pipeline", type=click.Path(file_okay=False, path_type=Path), nargs=1
)
def init(folder: Path) -> None:
    """Write a small working pipeline into FOLDER (default: my-pipeline).

    Two tasks and a service, with a comment for each idea. Nothing is overwritten.
    """
    files = _contents(folder)
    _refuse_to_overwrite(folder, files)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        # "x": whoever made the file since we looked keeps theirs.
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
        click.echo(folder / name)
    say(_what_next(folder))


def _contents(folder: Path) -> dict[str, str]:
    from supervisor.config.schema import schema_text

    return {
        "pipeline.yaml": PIPELINE.replace("@NAME@", _pipeline_name(folder)),
        "steps.py": STEPS,
        "pipeline.schema.json": schema_text(),
    }


def _refuse_to_overwrite(folder: Path, files: dict[str, str]) -> None:
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise SupervisorError(
            f"{folder} already has {', '.join(there)}; nothing was written",
            hint="psup init ANOTHER_FOLDER",
        )


def _pipeline_name(folder: Path) -> str:
    """Make a name that pipelines may have out of the folder's.

    >>> _pipeline_name(Path("/tmp/My first pipeline!"))
    'My-first-pipeline'
    """
    words = re.findall(r"[A-Za-z0-9_-]+", folder.resolve().name)
    name = "-".join(words).lstrip("-_")[:LONGEST_NAME]
    return name.rstrip("-") or "my-pipeline"


def _what_next(folder: Path) -> str:
    file = shlex.quote(str(folder / "pipeline.yaml"))
    name = _pipeline_name(folder)
    return (
        "\nNext:\n"
        f"  psup validate {file}\n"
        f"  psup launch {file}\n"
        "  psup tree\n"
        "  psup why add-up\n"
        f"  psup down {name}"
    )
