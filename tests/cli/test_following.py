"""Following a launch: what counts as up and as done, what is shown, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.following import Ended, Follower, Lines, Live, is_done, is_up
from supervisor.cli.home import Home
from supervisor.cli.picture import View
from supervisor.cli.store_reader import PipelineRow
from supervisor.errors import SupervisorError, TimedOut


def node(path: str, state: str, **facts: Any) -> dict[str, Any]:
    return {
        "path": path,
        "name": path.rpartition("/")[2],
        "kind": "task",
        "state": state,
        "phase": state,
        "incarnation": 1,
        "waits_for": [],
        "cause": "",
        "next": None,
        "children": [],
        **facts,
    }


def supervisor(path: str, *children: dict[str, Any], **facts: Any) -> dict[str, Any]:
    known = {"kind": "supervisor", "phase": "up", "children": list(children)}
    return node(path, **{"state": "running", **known, **facts})


def seen(*children: dict[str, Any], state: str = "up", **facts: Any) -> View:
    row = PipelineRow("p", state, {}, None, 1.0)
    return View(row, supervisor("p", *children, **facts), {}, 0.0, 0.0)


@pytest.mark.parametrize(
    ("phase", "state", "expected"),
    [
        ("bringing_up", "up", False),
        ("recycling", "up", False),
        ("up", "up", True),
        ("supervisor_ended", "failed", True),
        ("bringing_up", "failed", True),
    ],
)
def test_a_tree_is_up_when_everybody_had_a_turn_or_it_has_failed(phase, state, expected):
    """The core brings up in order; its phase is the answer."""
    assert is_up(seen(phase=phase, state=state)) is expected


@pytest.mark.parametrize("state", ["starting", "running", "stopping", "killing", "backoff"])
def test_a_task_that_moves_is_not_done(state):
    """Backoff is a promise to try again."""
    assert not is_done(seen(node("p/a", state)))


@pytest.mark.parametrize("state", ["done", "failed", "gave_up", "stopped", "dropped"])
def test_a_task_at_rest_is_done_whatever_its_end(state):
    """Nothing moves it but a person; services do not matter."""
    assert is_done(seen(node("p/a", state), node("p/s", "running", kind="service")))


def test_a_task_whose_turn_comes_is_not_done_but_one_that_is_passed_over_is():
    """Pending below a supervisor that goes on, and below one that has given up."""
    child = node("p/q/a", "pending")
    assert not is_done(seen(supervisor("p/q", child, phase="bringing_up")))
    gave_up = supervisor("p/q", child, state="gave_up", phase="supervisor_ended")
    assert is_done(seen(gave_up))


def test_who_waits_for_something_that_never_comes_is_done():
    """A waits for B, B waits for C, C has failed: nobody will ever run."""
    c = node("p/c", "failed")
    b = node("p/b", "waiting", waits_for=["p/c"])
    a = node("p/a", "waiting", waits_for=["p/b"])
    assert is_done(seen(a, b, c))
    assert not is_done(seen(a, b, node("p/c", "running")))
    assert is_done(
        seen(
            node("p/a", "waiting", waits_for=["p/b", "p/c"]),
            node("p/b", "running", kind="service"),
            c,
        )
    )


def test_lines_tell_what_changed_and_nothing_twice(capsys):
    """One line for every change of a segment, with its cause and what is next."""
    lines = Lines()
    lines.show(seen(node("p/a", "pending"), node("p/b", "running")))
    lines.show(seen(node("p/a", "pending"), node("p/b", "running")))
    planned = {"text": "again in 2s"}
    lines.show(seen(node("p/a", "starting"), node("p/b", "backoff", cause="oom", next=planned)))
    lines.show(seen(node("p/a", "pending"), node("p/b", "backoff", cause="oom", next=planned)))
    assert capsys.readouterr().err.splitlines() == [
        "p/b  running",
        "p/a  starting",
        "p/b  backoff  oom → again in 2s",
        "p/a  stopped",
    ]


def test_the_live_picture_is_drawn_over_itself(capsys):
    """The second frame goes up exactly as many lines as the first had, and leaves none of them."""
    live = Live()
    live.doing("reaching Ray")
    live.doing("starting segments")
    said = capsys.readouterr().err
    assert said == (
        "\rpsup: reaching Ray\x1b[K\n\x1b[J\x1b[1A\rpsup: starting segments\x1b[K\n\x1b[J"
    )


class Daemon:
    """The writing end of a progress pipe."""

    def __init__(self, home: Path) -> None:
        self.reading, self._writing = os.pipe()
        self.follower = Follower(self.reading, Home(home), "p", "l1")

    def tells(self, **fact: Any) -> None:
        os.write(self._writing, json.dumps(fact).encode() + b"\n")

    def ends(self) -> None:
        os.close(self._writing)
        self._writing = -1

    def close(self) -> None:
        os.close(self.reading)
        if self._writing >= 0:
            os.close(self._writing)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


class Memory:
    """A display that remembers."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def doing(self, text: str) -> None:
        self.told.append(text)

    def show(self, seen: Mapping[str, Any]) -> None:
        raise AssertionError("nothing was saved, so there is nothing to show")


def never(_: View) -> bool:
    return False


def test_a_refusal_is_raised_as_it_was_over_there(daemon):
    """Message, hint and exit code cross the pipe."""
    daemon.tells(doing="reaching Ray")
    daemon.tells(refused="already running", hint="psup tree p", exit_code=1)
    display = Memory()
    with pytest.raises(SupervisorError, match="already running") as raised:
        daemon.follower.follow(never, display)
    assert (raised.value.hint, raised.value.exit_code) == ("psup tree p", 1)
    assert display.told == ["reaching Ray"]


def test_the_end_of_the_last_daemon_is_an_end(daemon):
    """Whoever follows is not left hanging, and learns where to read why."""
    daemon.ends()
    with pytest.raises(Ended) as raised:
        daemon.follower.follow(never, Memory())
    assert "daemon.log" in raised.value.hint


def test_time_runs_out_while_the_pipeline_goes_on(daemon):
    """Exit code 6, and nothing was ended."""
    with pytest.raises(TimedOut):
        daemon.follower.follow(never, Memory(), timeout_s=0.01)


def test_a_line_that_comes_in_two_pieces_is_one_line(daemon):
    """A pipe may cut anywhere."""
    line = json.dumps({"refused": "no", "hint": "", "exit_code": 3}).encode() + b"\n"
    os.write(daemon._writing, line[:10])
    with pytest.raises(TimedOut):
        daemon.follower.follow(never, Memory(), timeout_s=0.01)
    os.write(daemon._writing, line[10:])
    with pytest.raises(SupervisorError, match="no"):
        daemon.follower.follow(never, Memory())
