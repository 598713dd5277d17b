"""The journal as lines for people and as JSON lines for programs."""

import json
import os
import re
import subprocess
import sys

import pytest
from cli_world import ROOT

from supervisor.runtime.ports import JournalEntry


@pytest.fixture
def told(world):
    """A world in which something was written down."""
    world.journal(
        "digits/serve",
        JournalEntry("event", "Ready", "digits/serve", {"incarnation": 1}),
        JournalEntry("event", "Tick", "", {}),
        ago_s=600,
    )
    world.journal(
        "digits/training/train",
        JournalEntry(
            "event",
            "Exited",
            "digits/training/train",
            {"incarnation": 3, "reason": {"kind": "oom", "detail": ""}},
        ),
        JournalEntry(
            "report", "restart_scheduled", "digits/training/train", {"text": "oom; again in 8s"}
        ),
        JournalEntry("action", "Start", "digits/training/train", {"incarnation": 4, "attempt": 4}),
    )
    return world


def texts(output):
    """Return path and words of each line."""
    return [tuple(re.split(r"\s{2,}", line)[1:]) for line in output.splitlines()]


def test_lines_say_when_who_and_what(told):
    """Oldest first, in words; what explains only the program is left out."""
    lines = texts(told.run("events").stdout)
    assert lines == [
        ("digits/serve", "life 1 is ready"),
        ("digits/training/train", "life 3 ended: oom"),
        ("digits/training/train", "oom; again in 8s"),
        ("digits/training/train", "start life 4, attempt 4"),
    ]
    assert ("digits", "time passed") in texts(told.run("events", "--all").stdout)


def test_targets_narrow_the_list(told):
    """A supervisor stands for all below it."""
    assert {path for path, _ in texts(told.run("events", "training").stdout)} == {
        "digits/training/train"
    }


def test_since_and_lines_narrow_the_list(told):
    """Spans and clock times are understood; -n keeps the newest."""
    assert len(texts(told.run("events", "-n", "2").stdout)) == 2
    assert texts(told.run("events", "-n", "1").stdout)[0][1].startswith("start life 4")
    assert texts(told.run("events", "-n", "0").stdout) == []
    assert len(texts(told.run("events", "--since", "2000-01-01").stdout)) == 4
    assert texts(told.run("events", "--since", "2100-01-01T10:00").stdout) == []
    assert told.run("events", "--since", "yesterday").exit_code == 2


def test_json_lines_have_the_documented_shape(told):
    """One document per line, each complete in itself."""
    lines = [json.loads(line) for line in told.run("events", "--json").stdout.splitlines()]
    exited = lines[1]
    assert exited["schema_version"] == 1
    assert (exited["pipeline"], exited["path"]) == ("digits", "digits/training/train")
    assert (exited["kind"], exited["type"], exited["text"]) == (
        "event",
        "Exited",
        "life 3 ended: oom",
    )
    assert exited["data"] == {"incarnation": 3, "reason": {"kind": "oom", "detail": ""}}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", exited["at"])
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)


@pytest.mark.slow
def test_follow_prints_what_happens_and_survives_its_reader(told):
    """New lines come without being asked for; a reader that leaves causes no noise."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "events", "-f", "--json", "-n", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(told.home)},
    ) as psup:
        assert psup.stdout is not None
        assert psup.stderr is not None
        assert json.loads(psup.stdout.readline())["type"] == "Start"
        stop = JournalEntry("event", "StopRequested", "digits/serve", {"request": 1})
        told.journal("digits/serve", stop)
        assert json.loads(psup.stdout.readline())["text"] == "asked to stop"
        psup.stdout.close()
        told.journal("digits/serve", stop)
        assert psup.wait(timeout=20) == 1
        assert psup.stderr.read() == ""
