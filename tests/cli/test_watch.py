"""The watched tree: redrawn in place on a terminal, a frame per change in a pipe."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from cli_world import ROOT

from supervisor.cli.render import Terminal
from supervisor.cli.store_reader import StoreReader
from supervisor.cli.watch import fitting
from supervisor.core import state
from supervisor.runtime.ports import JournalEntry

pytestmark = pytest.mark.slow

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Watched:
    """`psup tree --watch` on a terminal of its own."""

    def __init__(self, home, *args):
        self.main, side = pty.openpty()
        self.drawn = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "tree", "--watch", *args],
            stdout=side,
            stderr=side,
            stdin=side,
            cwd=ROOT,
            env={**os.environ, "PSUP_HOME": str(home), "TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(side)

    def read_until(self, wanted, within_s=30.0):
        """Read what is drawn until it holds those bytes."""
        end_s = time.monotonic() + within_s
        while wanted not in self.drawn:
            ready, _, _ = select.select([self.main], [], [], max(0.0, end_s - time.monotonic()))
            assert ready, self.drawn
            self.drawn += os.read(self.main, 65536)

    def end(self, number):
        """Send a signal, read the rest and return the exit code."""
        self.process.send_signal(number)
        try:
            while chunk := os.read(self.main, 65536):
                self.drawn += chunk
        except OSError:  # the other side of a terminal closed
            pass
        os.close(self.main)
        return self.process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_terminal_is_given_back_as_it_was(world, number, code):
    """However the watch ends: first screen, cursor, and the last frame stays to be read."""
    watched = Watched(world.home)
    watched.read_until(b"oom (peak")
    assert watched.drawn.startswith(ENTER + b"\x1b[?25l")
    assert watched.end(number) == code
    before, _, after = watched.drawn.rpartition(LEAVE)
    assert before.endswith(b"\x1b[?25h")
    assert b"serve" in after
    assert b"Traceback" not in watched.drawn


def test_a_frame_is_drawn_over_the_one_before(world):
    """The screen is never cleared as a whole, so it cannot flicker; changes come at once."""
    watched = Watched(world.home, "--interval", "1h")
    watched.read_until(b"oom (peak")
    world.put(
        "digits/evaluate", state.SegmentState(state.Starting(world.now_s, world.now_s + 99), 2)
    )
    watched.read_until(b"start timeout in")
    watched.end(signal.SIGINT)
    assert b"\x1b[2J" not in watched.drawn
    assert watched.drawn.count(b"\x1b[H") >= 2
    assert b"\x1b[K" in watched.drawn


def test_a_tree_that_is_too_tall_says_how_much_is_hidden():
    """The terminal never scrolls: what does not fit is counted."""
    assert fitting(
        [f"line {number}" for number in range(9)], Terminal(colour=False, width=100, height=5)
    ) == [
        "line 0",
        "line 1",
        "line 2",
        "line 3",
        "… 5 more lines",
    ]


def test_a_pipe_gets_a_document_per_change(world):
    """With --json every change is one line, and nothing is repeated."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "tree", "--watch", "--json", "--interval", "1ms"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(world.home)},
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        world.put("digits/evaluate", state.SegmentState(state.Idle(), 1, wanted=False))
        second = json.loads(process.stdout.readline())
        process.terminate()
    states = [facts["pipelines"][0]["children"][2]["state"] for facts in (first, second)]
    assert states == ["done", "stopped"]


def test_a_pipe_gets_no_frame_that_says_nothing_new(world):
    """What is saved without changing the screen is not worth a frame."""
    train = state.SegmentState(state.Ended(world.now_s - 7200, state.Ending.COMPLETED), 3)
    world.put("digits/training/train", train)
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "tree", "--watch", "digits"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(world.home)},
    ) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(9)]
        with StoreReader(world.home / "state.db") as reader:
            world.journal("digits", JournalEntry("event", "Tick", "", {}))
            assert reader.changed()
        time.sleep(0.5)  # long enough for a frame that must not come
        world.put("digits/evaluate", state.SegmentState(state.Idle(), 1, wanted=False))
        second = [process.stdout.readline() for _ in range(9)]
        process.terminate()
    assert first[0].startswith("NODE")
    assert second[0].startswith("NODE")
    assert "stopped" in second[7]
