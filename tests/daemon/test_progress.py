"""The progress pipe: what is written arrives whole, and no reader can hold the daemon up."""

from __future__ import annotations

import json
import os

from supervisor.daemon.progress import Progress
from supervisor.errors import EXIT_GAVE_UP, GaveUp


def test_facts_arrive_as_lines():
    """An empty line says look; the others are JSON."""
    reading, writing = os.pipe()
    progress = Progress(writing)
    progress.saved()
    progress.doing("starting Ray")
    progress.refused(GaveUp("no", hint="try"))
    saved, doing, refused, rest = os.read(reading, 4096).split(b"\n")
    assert (saved, rest) == (b"", b"")
    assert json.loads(doing) == {"doing": "starting Ray"}
    assert json.loads(refused) == {"refused": "no", "hint": "try", "exit_code": EXIT_GAVE_UP}
    os.close(reading)
    os.close(writing)


def test_a_reader_that_does_not_read_holds_nobody_up():
    """When the pipe is full, lines are dropped and the daemon goes on."""
    reading, writing = os.pipe()
    progress = Progress(writing)
    for _ in range(100_000):
        progress.saved()
    assert len(os.read(reading, 1_000_000)) < 100_000
    progress.doing("still here")
    assert b"still here" in os.read(reading, 4096)
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_closes_the_pipe_for_good():
    """The daemon neither dies nor keeps a descriptor to nobody."""
    reading, writing = os.pipe()
    progress = Progress(writing)
    os.close(reading)
    progress.saved()
    progress.saved()
    try:
        os.fstat(writing)
    except OSError:
        closed = True
    else:
        closed = False
    assert closed


def test_a_refusal_of_any_length_is_one_whole_line():
    """A pipe writes at most PIPE_BUF bytes as one piece."""
    reading, writing = os.pipe()
    Progress(writing).refused(GaveUp("long " * 10_000, hint="short"))
    line = os.read(reading, 65536)
    assert len(line) < 4096
    assert json.loads(line)["hint"] == "short"
    os.close(reading)
    os.close(writing)
