"""The group: lazy commands, errors as text and exit codes, help, completion, and its cost."""

import os
import re
import signal
import subprocess
import sys

import click
import pytest
from cli_world import ANSI, ROOT
from click.testing import CliRunner

from supervisor.cli.main import COMMANDS, SECTIONS, Entry, Psup, psup
from supervisor.errors import GaveUp, NoSuchTarget, SupervisorError, TimedOut

MINE = (
    "tree", "status", "why", "show", "start", "stop", "restart", "down", "logs", "events",
    "completion",
)  # fmt: skip
READ_COMMANDS = ("tree", "status", "why", "show", "logs", "events")
TOO_HEAVY = {"ray", "sqlite_utils", "yaml", "supervisor.config", "supervisor.core", "psutil"}


def run_process(home, *args, **facts):
    """Run one command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(home), **facts},
    )


class Raising(Psup):
    """A group whose only command raises."""

    error: BaseException

    def get_command(self, ctx, cmd_name):
        def body():
            raise self.error

        return click.Command("tree", callback=body)


def explained(error, *args):
    """Return what a person sees when a command raises that."""
    group = Raising("psup", params=list(psup.params), callback=psup.callback)
    group.error = error
    return CliRunner().invoke(group, [*args, "tree"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SupervisorError("it broke", hint="mend it"), 1),
        (NoSuchTarget("it broke", hint="mend it"), 4),
        (GaveUp("it broke", hint="mend it"), 5),
        (TimedOut("it broke", hint="mend it"), 6),
    ],
)
def test_an_error_is_a_sentence_a_hint_and_its_exit_code(error, code):
    """What to do next stands below what happened; nothing goes to stdout."""
    result = explained(error)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == "psup: it broke\n  hint: mend it\n"


def test_a_bug_is_a_sentence_too():
    """No traceback reaches anybody who did not ask for it."""
    result = explained(ZeroDivisionError("division by zero"))
    assert result.exit_code == 1
    assert result.stderr.startswith("psup: internal error: ZeroDivisionError: division by zero\n")
    assert "psup --debug" in result.stderr
    assert "Traceback" not in result.output


def test_debug_shows_the_traceback(world):
    """--debug is for whoever mends it."""
    result = world.run("--debug", "show", "nope")
    assert result.exit_code == 4
    assert "Traceback" in result.stderr
    assert "psup: no node is called 'nope'" in result.stderr
    assert "Traceback" in world.run("show", "nope", env={"PSUP_DEBUG": "1"}).stderr
    assert "Traceback" not in world.run("show", "nope").stderr


def test_an_interrupt_is_exit_code_130():
    """What a shell reports of a program that Ctrl-C ended."""
    result = explained(KeyboardInterrupt())
    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_a_slip_in_a_command_or_option_is_answered_with_the_nearest(world):
    """Usage errors are exit code 2."""
    command = world.run("tre")
    assert command.exit_code == 2
    assert "tree" in command.stderr
    option = world.run("tree", "--wach")
    assert option.exit_code == 2
    assert "--watch" in option.stderr


def test_a_closed_pipe_is_no_error(world):
    """`psup events | head -1` ends without a word, whenever the reader leaves."""
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "tree"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(world.home)},
    ) as process:
        os.close(write)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_stream_that_knows_only_ascii_gets_what_it_can_show(world):
    """The strokes of the tree become question marks, not an error."""
    result = run_process(world.home, "tree", PYTHONIOENCODING="ascii")
    assert result.returncode == 3
    assert "?? train" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_of_the_table_exists_with_help_and_examples(name):
    """The table names real commands, and each shows how to type it."""
    result = CliRunner().invoke(psup, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Examples:" in result.output
    examples = result.output.partition("Examples:")[2].strip().splitlines()
    assert all(f"psup {name}" in line for line in examples)


def test_help_lists_every_command_in_its_section_and_imports_none():
    """The first screen is the table itself."""
    code = (
        "import sys; from supervisor.cli.main import psup\n"
        "try: psup(['--help'])\nexcept SystemExit: pass\n"
        f"print([m for m in sys.modules if m.split('.')[-1] in {set(MINE)!r}], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stderr.strip() == "[]"
    for title, commands in SECTIONS.items():
        assert f"{title}:" in result.stdout
        for name, entry in commands.items():
            assert re.search(
                rf"^  {name} +{re.escape(entry.summary)}$", result.stdout, re.MULTILINE
            )


def test_the_version_is_that_of_the_package():
    """One line, exit code 0."""
    import supervisor

    result = CliRunner().invoke(psup, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"psup {supervisor.__version__}\n")


# ------------------------------------------------------------------------------------------- cost


@pytest.mark.parametrize("name", READ_COMMANDS)
def test_read_commands_import_nothing_heavy(world, name):
    """Neither Ray nor sqlite-utils nor YAML nor the core: a look costs what Python costs."""
    code = (
        "import sys; from supervisor.cli.main import psup\n"
        f"try: psup([{name!r}, *sys.argv[1:]])\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    target = ["serve"] if name in ("why", "show", "logs") else []
    result = subprocess.run(
        [sys.executable, "-c", code, *target],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(world.home)},
    )
    modules = set(result.stderr.split())
    assert "supervisor.cli.store_reader" in modules
    assert modules & TOO_HEAVY == set()


# ------------------------------------------------------------------------------------- completion


def complete(world, words, shell="bash"):
    """Return what the shell is offered for the last word."""
    result = run_process(
        world.home,
        _PSUP_COMPLETE=f"{shell}_complete",
        COMP_WORDS=f"psup {words}",
        COMP_CWORD=str(len(words.split(" "))),
    )
    assert result.stderr == ""
    return [line.split(",", 1)[1] for line in result.stdout.split()]


def test_completion_knows_the_segments_that_are_there(world):
    """Short names first, paths after a slash, and only what begins like the word."""
    assert complete(world, "restart tr") == ["training", "train"]
    assert complete(world, "restart training/") == ["training/train"]
    assert complete(world, "logs digits/d") == [
        "digits/data",
        "digits/data/ingest",
        "digits/data/features",
    ]
    assert complete(world, "down d") == ["digits"]
    assert complete(world, "tree --pipeline d") == ["digits"]
    assert complete(world, "re") == ["restart"]


def test_completion_says_nothing_when_there_is_nothing(empty_world):
    """No error appears in the middle of somebody's line."""
    assert complete(empty_world, "restart t") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_printed_line_turns_completion_on(world, shell):
    """Stdout is only the line, so that it can be appended to a file."""
    result = world.run("completion", shell)
    assert result.exit_code == 0
    assert f"_PSUP_COMPLETE={shell}_source psup" in result.stdout
    assert result.stdout.count("\n") == 1


def test_the_table_is_of_entries():
    """A name is given once."""
    names = [name for commands in SECTIONS.values() for name in commands]
    assert len(names) == len(set(names))
    assert all(isinstance(entry, Entry) for entry in COMMANDS.values())
    assert set(MINE) <= set(names)
    assert signal.SIGINT + 128 == 130
    assert not ANSI.search(CliRunner().invoke(psup, ["--help"]).output)
