"""The command `psup`: finds the subcommand, and turns every error into text and an exit code.

Nothing else in this program prints an error or chooses the exit code of one. Subcommands are named
in a table and imported only when they are called: a look at the tree must not pay for Ray, for YAML
or for the commands beside it. A traceback reaches nobody who did not ask with `--debug`.
Read next: `home.py` (where the state lives), `picture.py` (what the read commands show).
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

from supervisor.cli.words import did_you_mean
from supervisor.errors import EXIT_ERROR, EXIT_OK, SupervisorError

EXIT_INTERRUPTED = 130
"""128 + SIGINT, what a shell reports of a program that Ctrl-C ended."""

DISTRIBUTION = "pipeline-supervisor"


class Entry(NamedTuple):
    """Where a subcommand lives, and what `psup --help` says about it without importing it."""

    module: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Run a pipeline": {
        "launch": Entry("launch", "Start a pipeline from its file."),
        "down": Entry("down", "Stop whole pipelines and wait until everything is gone."),
        "validate": Entry("validate", "Check a pipeline file; report all problems at once."),
        "plan": Entry("plan", "Say what a pipeline file would do, also if segments fail."),
        "init": Entry("init", "Write a small working pipeline."),
    },
    "Look": {
        "tree": Entry("tree", "Show every supervisor and segment, one line each."),
        "status": Entry("status", "Say in one line per pipeline whether all is well."),
        "why": Entry("why", "Explain what happened, what happens next, and what to type."),
        "explain": Entry("explain", "Explain when a segment is tried again, and how often."),
        "graph": Entry("graph", "Draw the tree and the order of data."),
        "show": Entry("show", "Show everything known about one node."),
        "logs": Entry("logs", "Print or follow the output of segments."),
        "events": Entry("events", "Print or follow what happened, in order."),
    },
    "Act": {
        "restart": Entry("control", "Give segments a fresh life now; no counter is touched."),
        "stop": Entry("control", "Stop segments; they stay down until you start them."),
        "start": Entry("control", "Start what was stopped, failed or gave up."),
        "apply": Entry("changing", "Make the running pipeline what its file says."),
        "scale": Entry("changing", "Run another number of instances of a segment."),
        "set": Entry("changing", "Change single values of one node while it runs."),
    },
    "Set up": {
        "doctor": Entry("doctor", "Check this machine and say what to do."),
        "schema": Entry("validate", "Print the JSON Schema of pipeline files."),
        "completion": Entry("completion", "Print the line that turns on shell completion."),
    },
}
COMMANDS: dict[str, Entry] = {
    name: entry for commands in SECTIONS.values() for name, entry in commands.items()
}
_LEAVES_NOTHING = {*SECTIONS["Look"], *SECTIONS["Act"]}


class Psup(click.Group):
    """A group that imports a subcommand when it is called, and the one place that ends in error."""

    debug = False
    called = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help screen."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that subcommand; its function bears the subcommand's name."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        self.called = cmd_name
        module = import_module(f"supervisor.cli.{entry.module}")
        # `set` would hide what Python means by that word.
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; a slip of the finger is answered with the nearest name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"no such command {name!r}{did_you_mean(name, list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table in sections, importing nothing."""
        del ctx
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in commands.items()])

    def main(  # type: ignore[override]  # ours never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run one command line and end the process with its exit code."""
        extra.pop("standalone_mode", None)
        self.debug = bool(os.environ.get("PSUP_DEBUG"))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that knows only ASCII
        try:
            answer = super().main(args, prog_name or "psup", standalone_mode=False, **extra)
            sys.stdout.flush()
            code = answer if isinstance(answer, int) else EXIT_OK
        except BrokenPipeError:
            code = _reader_is_gone()
        except click.Abort:
            code = EXIT_INTERRUPTED
        except KeyboardInterrupt:
            code = EXIT_INTERRUPTED
        except Exception as error:  # noqa: BLE001  # whatever it is, the user gets a sentence
            code = self.explain(error)
        sys.exit(code)

    def explain(self, error: Exception) -> int:
        """Write what went wrong and what to do to stderr; return the exit code."""
        if self.debug:
            import traceback

            traceback.print_exception(error)
        if isinstance(error, click.ClickException):
            error.show()
            return error.exit_code
        if isinstance(error, SupervisorError):
            _say(error.message, error.hint)
            return error.exit_code
        _say(
            f"internal error: {type(error).__name__}: {error}",
            "" if self.debug else "psup --debug ... shows where; please report it",
        )
        return EXIT_ERROR


def _say(message: str, hint: str) -> None:
    click.echo(f"psup: {message}", err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)


def _reader_is_gone() -> int:
    """Whoever read our output went away (`psup events | head`): say nothing, write nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return EXIT_ERROR


def _print_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001  # click's callback
    if not asked:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"psup {version(DISTRIBUTION)}")
    except PackageNotFoundError:
        click.echo("psup (not installed, runs from its source)")
    ctx.exit()


@click.group(
    cls=Psup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Targets: a path (digits/training/train), a part that only one node has (train),
or a quoted glob ('digits/*'). Exit codes: 0 fine, 1 error, 2 usage or invalid
file, 3 degraded or not running, 4 no such target, 5 gave up, 6 timed out,
7 no daemon. State lives in $PSUP_HOME (default ~/.psup).""",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
def psup(*, debug: bool) -> None:
    """Run the segments of a pipeline under supervision, each in a failure domain of its own."""
    if debug:
        psup.debug = True


def main() -> NoReturn:
    """Entry point of the `psup` command and of `python -m supervisor`.

    A command that only looked or asked has nothing to tear down: Python's own tidying up would be
    an eighth of the time that `psup tree` takes.
    """
    try:
        psup.main()
    except SystemExit as end:
        if psup.called not in _LEAVES_NOTHING:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else EXIT_OK)
