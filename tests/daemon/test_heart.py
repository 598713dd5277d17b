"""The heart: one daemon alive, whatever kills it, until it ends for a reason that is final."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from supervisor.daemon.heart import AGAIN, ENDED, FAILED, LOST, REFUSED, Rhythm

HOST = """
import subprocess, sys
from supervisor.daemon.heart import Rhythm, keep_alive
def spawn():
    return subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], stdout=1, stdin=0)
rhythm = Rhythm(first_delay_s={delay_s}, max_delay_s={delay_s}, most_short_lives={most})
sys.exit(keep_alive(spawn, rhythm))
"""
SAY_PID = "import os, sys; print(os.getpid(), flush=True)\n"
OBEY = (
    SAY_PID
    + "import signal, sys\n"
    + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    + "if os.read(0, 1) == b'd': os.kill(os.getpid(), 9)\n"  # still deaf to SIGTERM
    + "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})\n"
    + "signal.pause()\n"
)


DIE_WHEN_ASKED = (
    SAY_PID
    + "import signal, sys\n"
    + "def asked(*_):\n"
    + "    if os.read(0, 1) == b'd': os.kill(os.getpid(), 9)\n"
    + "    sys.exit(0)\n"
    + "signal.signal(signal.SIGTERM, asked)\n"
    + "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})\n"
    + "signal.pause()\n"
)


class Host:
    """A process that runs `keep_alive` over daemons made of one line of Python."""

    def __init__(self, daemon: str, *, delay_s: float = 0.0, most: int = 3) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST.format(delay_s=delay_s, most=most), daemon],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            start_new_session=True,
        )

    def next_daemon(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word)
        self.process.stdin.flush()

    def await_line(self, part: str) -> None:
        assert self.process.stderr is not None
        assert any(part in line for line in self.process.stderr)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def host() -> Iterator[list[Host]]:
    hosts: list[Host] = []
    yield hosts
    for made in hosts:
        with suppress(ProcessLookupError):
            os.killpg(made.process.pid, signal.SIGKILL)  # its daemons too
        made.process.wait()


@pytest.mark.parametrize("code", [ENDED, FAILED, REFUSED, LOST])
def test_a_final_exit_code_ends_the_heart_with_it(host, code):
    """A daemon that ended orderly, or must not be restarted, has exactly one life."""
    host.append(Host(SAY_PID + f"sys.exit({code})"))
    ended, out, _ = host[0].end()
    assert ended == code
    assert len(out.splitlines()) == 1


def test_a_killed_daemon_is_started_again(host):
    """SIGKILL of the daemon is answered with a new process, and the heart itself lives on."""
    host.append(Host(OBEY))
    first = host[0].next_daemon()
    os.kill(first, signal.SIGKILL)
    second = host[0].next_daemon()
    assert second != first
    assert host[0].process.poll() is None


def test_a_daemon_that_asks_for_a_fresh_process_gets_one(host):
    """AGAIN is a death like any other."""
    host.append(Host(SAY_PID + f"sys.exit({AGAIN})", most=1))
    code, out, err = host[0].end()
    assert code == 1
    assert len(out.splitlines()) == 2
    assert f"exit code {AGAIN}" in err


def test_short_lives_in_a_row_make_it_give_up_with_a_message(host):
    """A daemon that cannot live is not restarted for ever: one life more than allowed, then 1."""
    host.append(Host(SAY_PID + "os.kill(os.getpid(), 9)", most=3))
    code, out, err = host[0].end()
    assert code == 1
    assert len(out.splitlines()) == 4
    assert "SIGKILL" in err
    assert "giving up" in err


def test_a_signal_that_comes_before_the_daemon_listens_waits_for_it(host):
    """SIGTERM between fork and handler neither kills the daemon nor is it lost."""
    host.append(Host(OBEY))
    host[0].next_daemon()
    host[0].signal(signal.SIGTERM)
    code, out, _ = host[0].end()  # closes stdin: only now does the daemon unblock the signal
    assert code == 0
    assert out == ""


def test_a_signal_between_two_lives_reaches_the_next(host):
    """A person who stops a pipeline while its daemon is down does not wait out the pause."""
    host.append(Host(OBEY, delay_s=3600.0))
    for _ in range(2):  # the first death is answered at once, the second after the pause
        host[0].next_daemon()
        host[0].say("d")
    host[0].await_line("in 3600 s")
    host[0].signal(signal.SIGTERM)
    host[0].next_daemon()
    code, _, _ = host[0].end()
    assert code == 0


def test_what_was_asked_of_a_daemon_that_died_is_asked_of_the_next(host):
    """It was killed before it had gone down as asked: the next one goes down."""
    host.append(Host(DIE_WHEN_ASKED))
    host[0].say("d")
    host[0].next_daemon()
    host[0].signal(signal.SIGTERM)
    host[0].next_daemon()
    code, out, _ = host[0].end()
    assert (code, out) == (0, "")


def test_a_long_life_forgets_the_short_ones_before_it():
    """Only deaths in a row count."""
    rhythm = Rhythm(short_life_s=30.0, most_short_lives=2)
    assert [rhythm.delay_s(1.0), rhythm.delay_s(1.0)] == [0.0, 0.5]
    assert rhythm.delay_s(30.0) == 0.0
    assert [rhythm.delay_s(1.0), rhythm.delay_s(1.0), rhythm.delay_s(1.0)] == [0.0, 0.5, None]
