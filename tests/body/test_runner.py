"""The runner as a process: whose modules it finds, what it says, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[2] / "supervisor" / "body" / "__main__.py"

BODIES = """
import os, sys, threading
from supervisor.body import Context

def good(ctx):
    assert isinstance(ctx, Context)
    print("good")

def shows_path(ctx):
    print(sys.path[0])
    print(sys.path[-1])

def bad(ctx):
    raise RuntimeError("first line\\nsecond line")

def leaves(ctx):
    sys.exit(5)

held = []

def uses_everything(ctx):
    while True:
        held.append(bytearray(2000))

def tells_who_sets(ctx):
    import time
    done = []
    ctx.stopping.set = lambda: done.append(threading.current_thread())
    print("waiting", flush=True)
    while not done:
        time.sleep(0.01)
    print(done[0] is threading.main_thread(), flush=True)

def waits(ctx):
    print("waiting", flush=True)
    assert ctx.stopping.wait(30)
    print("stopped", flush=True)

async def slow(ctx):
    print("async")

def huge(ctx):
    raise ValueError("x" * 1_000_000)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(BODIES)
    return tmp_path


def start(
    folder: Path, target: str, *, through: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*through, sys.executable, str(RUNNER), "p/a#1", target],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PSUP_PATH": "p/a", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, target: str, **environment: str) -> tuple[int, str, str]:
    process = start(folder, target, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_callable_is_called_with_a_context(folder: Path, ear) -> None:
    """RUNNING is said before the call, and the exit code is 0."""
    assert run(folder, "mine:good", NOTIFY_SOCKET=ear.address) == (0, "good\n", "")
    assert ear.next() == "X_PSUP_RUNNING=1"
    assert ear.is_empty()


def test_an_async_callable_is_awaited(folder: Path) -> None:
    """`async def` works as `def` does."""
    assert run(folder, "mine:slow")[:2] == (0, "async\n")


def test_the_users_modules_come_first_and_ours_last(folder: Path) -> None:
    """A user's module may have any name; our folder hides nothing."""
    (folder / "context.py").write_text("def go(ctx): print('the user own context')")
    assert run(folder, "context:go")[1] == "the user own context\n"
    first, last = run(folder, "mine:shows_path")[1].splitlines()
    assert (first, last) == (str(folder), str(RUNNER.parents[2]))


def test_another_distribution_called_supervisor_does_no_harm(folder: Path) -> None:
    """The other one imports under the same name."""
    (folder / "supervisor").mkdir()
    (folder / "supervisor" / "__init__.py").write_text("raise ImportError('not ours')")
    assert run(folder, "mine:good")[0] == 0


def test_an_exception_is_told_and_logged(folder: Path, ear) -> None:
    """Type, message and traceback travel; the log has the traceback too."""
    code, _, err = run(folder, "mine:bad", NOTIFY_SOCKET=ear.address)
    assert code == 1
    assert "RuntimeError: first line" in err
    assert ear.next() == "X_PSUP_RUNNING=1"
    told = json.loads(ear.next().removeprefix("X_PSUP_ERROR="))
    assert (told["type"], told["message"]) == ("RuntimeError", "first line\nsecond line")
    assert 'in bad\n    raise RuntimeError("first line' in told["traceback"]


def test_a_huge_message_still_arrives(folder: Path, ear) -> None:
    """What does not fit into a datagram is cut, not lost."""
    run(folder, "mine:huge", NOTIFY_SOCKET=ear.address)
    ear.next()
    told = json.loads(ear.next().removeprefix("X_PSUP_ERROR="))
    assert told["type"] == "ValueError"
    assert len(told["message"]) == 2000


def test_a_memory_error_is_told_with_its_traceback(folder: Path, ear) -> None:
    """Also when not even the modules that format it would have fitted any more."""
    limited = ("sh", "-c", 'ulimit -d 65536; exec "$@"', "sh")
    process = start(folder, "mine:uses_everything", through=limited, NOTIFY_SOCKET=ear.address)
    process.communicate(timeout=60)
    assert ear.next() == "X_PSUP_RUNNING=1"
    told = json.loads(ear.next().removeprefix("X_PSUP_ERROR="))
    assert told["type"] == "MemoryError"
    assert "held.append" in told["traceback"]


def test_stopping_is_set_by_a_thread_of_its_own(folder: Path) -> None:
    """A handler that set it would wait for ever when it interrupts the event's own lock."""
    process = start(folder, "mine:tells_who_sets")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.terminate()
    assert process.communicate(timeout=60)[0] == "False\n"


def test_sys_exit_keeps_its_code(folder: Path, ear) -> None:
    """An exit is an exit, not an error."""
    assert run(folder, "mine:leaves", NOTIFY_SOCKET=ear.address)[0] == 5
    assert ear.next() == "X_PSUP_RUNNING=1"
    assert ear.is_empty()


@pytest.mark.parametrize(
    ("target", "error"),
    [("absent:main", "ModuleNotFoundError"), ("mine:absent", "AttributeError")],
)
def test_a_target_that_is_not_there_is_an_error(folder: Path, target: str, error: str, ear) -> None:
    """The loader cannot know; the body says so before it runs anything."""
    assert run(folder, target, NOTIFY_SOCKET=ear.address)[0] == 1
    assert json.loads(ear.next().removeprefix("X_PSUP_ERROR="))["type"] == error


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_the_stop_signal_sets_stopping_and_interrupts_nothing(folder: Path, name: str) -> None:
    """Even while the main thread waits on that very event."""
    process = start(folder, "mine:waits", PSUP_STOP_SIGNAL=name)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_it_starts_without_what_a_body_seldom_needs(folder: Path) -> None:
    """Every import is paid again at every restart."""
    (folder / "lean.py").write_text("import sys\ndef go(ctx): print(*sys.modules)")
    bare = [sys.executable, "-c", "import sys; print(*sys.modules)"]  # has what .pth files load
    site = set(subprocess.run(bare, capture_output=True, text=True, check=True).stdout.split())
    loaded = set(run(folder, "lean:go")[1].split()) - site
    dear = {"json", "logging", "pathlib", "traceback", "asyncio", "subprocess", "ctypes"}
    assert loaded & dear == set()
    assert not {name for name in loaded if name.startswith("supervisor.core")}
