"""What a person asks for. docs/semantics.md, section 8."""

from __future__ import annotations

import pytest
from stage import COMPLETED, CRASH, STOPPED, Stage

from supervisor.core.actions import Answer
from supervisor.core.events import StartRequested, StopRequested

TREE = """
p one_for_one
  g one_for_all
    a service
    b service
  c
"""


def answer(stage: Stage) -> tuple[bool, str]:
    """Whether the latest request was obeyed, and under which word."""
    (said,) = [one for one in stage.last.actions if isinstance(one, Answer)]
    assert said.request == 1
    assert said.text
    return said.ok, said.code


# --------------------------------------------------------------------------------------- in general


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_unknown_path(verb: str) -> None:
    """Nobody of that name: refused, nothing changed (8.1)."""
    stage = Stage(TREE)
    stage.path = lambda name: name  # type: ignore[method-assign]
    getattr(stage, verb)("p/nobody")
    assert answer(stage) == (False, "no_such_target")
    assert stage.last.changed == ()


def test_request_that_nobody_waits_for() -> None:
    """A request without a number is obeyed and not answered (8.1)."""
    stage = Stage(TREE).all_up()
    assert stage.tell(StopRequested("p/c")) == ["stop p/c#1"]
    assert not [one for one in stage.last.actions if isinstance(one, Answer)]


# --------------------------------------------------------------------------------------------- stop


def test_stop_triggers_no_strategy() -> None:
    """Siblings run on, under one_for_all as well (8.2)."""
    stage = Stage(TREE).all_up()
    assert stage.stop("a") == ["stop p/g/a#1"]
    assert stage.exits("a", CRASH) == []
    assert stage.phase("b") == "running"
    assert stage.state("a").startswith("idle #1, unwanted")


def test_stop_outlives_group_and_supervisor_restarts() -> None:
    """A stopped child is skipped whenever its supervisor starts the others (8.2)."""
    stage = Stage(TREE).all_up()
    stage.stop("a")
    stage.exits("a", STOPPED)
    stage.exits("b", CRASH, at=10)
    assert stage.tick(at=11) == ["start p/g/b#2 (attempt 2, after error(ValueError: no))"]
    stage.ready("b")
    stage.restart("g")
    assert stage.exits("b", STOPPED) == ["start p/g/b#3 (attempt 2, after stopped)"]
    stage.ready("b")
    stage.stop("g")
    stage.exits("b", STOPPED)
    stage.start("g")
    assert stage.phase("a") == "idle"


def test_stop_of_a_stopped_one() -> None:
    """Twice is fine (8.2)."""
    stage = Stage(TREE).all_up()
    stage.stop("a")
    assert answer(stage) == (True, "ok")
    stage.stop("a")
    assert answer(stage) == (True, "ok")
    stage.exits("a", STOPPED)
    stage.stop("a")
    assert answer(stage) == (True, "already_stopped")


def test_stop_of_what_has_ended_keeps_it_down() -> None:
    """A completed task that is stopped does not run again with its supervisor (8.2)."""
    stage = Stage(TREE).all_up()
    stage.exits("c", COMPLETED)
    stage.stop("c")
    assert answer(stage) == (True, "already_stopped")
    stage.restart("p")
    stage.exits("b", STOPPED)
    stage.exits("a", STOPPED)
    stage.all_up()
    assert stage.phase("c") == "idle"


def test_stop_cancels_a_backoff_and_a_wait() -> None:
    """What is scheduled is called off; no stale deadline revives it (8.2)."""
    stage = Stage("p one_for_one\n  a service backoff=5\n  b after=p/a\n  c service").all_up()
    stage.exits("b", COMPLETED)
    stage.exits("a", CRASH, at=10)
    stage.restart("b")
    assert stage.phase("b") == "waiting"
    for name in "ab":
        stage.stop(name, at=11)
        assert stage.phase(name) == "idle"
        assert f"release p/{name}#1" in stage.said
    assert stage.next() is None
    assert stage.tick(at=99) == []


def test_stop_of_a_child_whose_failure_is_being_handled() -> None:
    """Stopped for a hang, then by a person: it stays down, and nothing is counted (8.2)."""
    stage = Stage("p one_for_one\n  a service").all_up()
    stage.hangs("a")
    stage.stop("a")
    stage.exits("a", STOPPED)
    assert stage.phase("a") == "idle"
    assert stage.segment("a").restart_count == 0


def test_stop_of_a_member_that_goes_with_its_group() -> None:
    """It goes once, and does not come back with the others (8.2)."""
    stage = Stage("p one_for_all\n  a service backoff=0\n  b service").all_up()
    stage.exits("a", CRASH)
    stage.stop("b")
    assert stage.exits("b", STOPPED) == ["start p/a#2 (attempt 2, after error(ValueError: no))"]
    assert stage.ready("a") == []
    assert stage.state("b").startswith("idle #1, unwanted")


def test_stop_of_a_supervisor() -> None:
    """All below goes in reverse order and gives back its cells (8.2, 2.7)."""
    stage = Stage(TREE).all_up()
    trace = stage.stop("g")
    trace += stage.exits("b", STOPPED)
    stage.exits("a", STOPPED)
    assert trace == ["stop p/g/b#1", "stop p/g/a#1"]
    assert stage.said == ["release p/g/a#1", "release p/g/b#1"]
    assert stage.phase("g") == "down"


def test_stop_of_a_supervisor_that_backs_off() -> None:
    """It stays down (8.2)."""
    stage = Stage("p one_for_one\n  g one_for_one max_restarts=0\n    a service").all_up()
    stage.exits("a", CRASH, at=10)
    stage.stop("g", at=10)
    assert answer(stage) == (True, "ok")
    assert stage.next() is None
    assert stage.phase("g") == "down"
    stage.stop("g", at=10)
    assert answer(stage) == (True, "already_stopped")


def test_stop_of_a_supervisor_that_gives_up() -> None:
    """A person's stop overrules the give-up: no restart, nothing charged (8.2)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one max_restarts=0\n    a service\n    b service"
    ).all_up()
    stage.exits("b", CRASH)
    stage.stop("g")
    stage.exits("a", STOPPED)
    assert stage.phase("g") == "down"
    assert stage.supervisor("p").restart_count == 0


def test_group_restart_does_not_start_a_stopped_supervisor() -> None:
    """A person's stop of a supervisor stands when its parent restarts the group (8.2)."""
    stage = Stage("p one_for_all\n  a service backoff=0\n  g one_for_one\n    b service").all_up()
    stage.stop("g")
    stage.exits("a", CRASH)
    stage.exits("b", STOPPED)
    stage.all_up()
    assert stage.phases() == {"a": "running", "b": "idle"}


# -------------------------------------------------------------------------------------------- start


def test_start_refuses_what_runs() -> None:
    """Nothing to do, nothing changed (8.3)."""
    stage = Stage(TREE).all_up()
    for name in ("a", "g", "p"):
        stage.start(name)
        assert answer(stage) == (False, "already_running")
        assert stage.last.changed == ()


def test_start_ends_a_backoff_without_counting() -> None:
    """At once, and the row and windows are as before (8.3)."""
    stage = Stage("p one_for_one\n  a service backoff=50").all_up()
    stage.exits("a", CRASH, at=10)
    assert stage.start("a", at=11) == ["start p/a#2 (attempt 2, after error(ValueError: no))"]
    assert stage.supervisor("p").restarts == (10.0,)
    assert stage.segment("a").restart_count == 1
    stage.ready("a", at=12)
    assert stage.next() is None


def test_start_of_what_is_being_stopped() -> None:
    """It starts again when it is gone (8.3)."""
    stage = Stage(TREE).all_up()
    stage.stop("a")
    assert stage.start("a") == []
    assert stage.exits("a", STOPPED) == ["start p/g/a#2 (after stopped)"]


def test_start_of_a_member_whose_turn_comes() -> None:
    """Right of the cursor a start takes the stop back, and the turn comes in order (8.6)."""
    stage = Stage("p one_for_one\n  a service\n  b service\n  c service")
    stage.stop("c")
    assert stage.start("c") == []
    assert answer(stage) == (True, "ok")
    stage.ready("a")
    assert stage.ready("b") == ["start p/c#1"]


def test_start_of_a_waiting_one() -> None:
    """It says what it waits for (8.6)."""
    stage = Stage("p one_for_one\n  a after=p/b\n  b").all_up()
    stage.start("a")
    assert answer(stage) == (True, "waiting")
    assert "waits for p/b" in stage.said[-1]
    stage.stop("a")
    stage.start("a")
    assert answer(stage) == (True, "waiting")


def test_start_below_a_stopped_supervisor() -> None:
    """The highest supervisor that is down comes up as a whole, in order (8.4)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one\n    a service\n    h one_for_one\n      b service"
    ).all_up()
    stage.stop("h")
    stage.exits("b", STOPPED)
    stage.stop("g")
    stage.exits("a", STOPPED)
    assert stage.start("b") == ["start p/g/a#2 (after stopped)"]
    assert stage.ready("a") == ["start p/g/h/b#2 (after stopped)"]
    assert stage.supervisor("h").wanted


def test_start_below_a_supervisor_that_goes_down() -> None:
    """It goes down first, then comes up again as a whole (8.4)."""
    stage = Stage(TREE).all_up()
    stage.stop("g")
    assert stage.start("a") == []
    stage.exits("b", STOPPED)
    assert stage.exits("a", STOPPED) == ["start p/g/a#2 (after stopped)"]


def test_start_of_a_bulkhead_that_gave_up_is_fresh() -> None:
    """What is started from rest has an empty window (6.4, 8.4)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary max_restarts=1\n    a service backoff=0"
    ).all_up()
    for _ in range(2):
        stage.exits("a", CRASH)
        stage.all_up()
    assert stage.start("g") == ["start p/g/a#3 (after error(ValueError: no))"]
    stage.ready("a")
    stage.exits("a", CRASH)
    assert stage.phase("a").startswith("starting")


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_nothing_starts_while_the_root_goes_down(verb: str) -> None:
    """`down` is final for this launch (8.4)."""
    stage = Stage(TREE).all_up()
    stage.drain()
    for name in ("a", "g", "p"):
        assert getattr(stage, verb)(name) == []
        assert answer(stage) == (False, "going_down")


# ------------------------------------------------------------------------------------------ restart


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_restart_touches_only_that_child_and_no_counter(strategy: str) -> None:
    """At once, whatever the strategy; windows, rows and attempts are as before (8.5)."""
    stage = Stage(
        f"p {strategy} max_restarts=0\n  a service\n  b service budget=0 backoff=50\n  c service"
    ).all_up()
    before = stage.supervisor("p")
    assert stage.restart("b", at=10) == ["stop p/b#1"]
    assert stage.exits("b", CRASH, at=11) == ["start p/b#2 (after stopped)"]
    assert stage.supervisor("p") == before
    assert stage.segment("b").restart_count == stage.segment("b").streak == 0
    assert stage.segment("b").restarts == ()
    assert stage.latest("a") == stage.latest("c") == 1


def test_restart_of_a_completed_task() -> None:
    """It runs again (8.5)."""
    stage = Stage(TREE).all_up()
    stage.exits("c", COMPLETED)
    assert stage.restart("c") == ["start p/c#2 (after completed)"]


def test_restart_takes_back_a_stop() -> None:
    """Whoever restarts wants it to run (8.5)."""
    stage = Stage(TREE).all_up()
    stage.stop("a")
    stage.exits("a", STOPPED)
    assert stage.restart("a") == ["start p/g/a#2 (after stopped)"]
    assert stage.segment("a").wanted


def test_restart_of_a_starting_one() -> None:
    """A life that is not ready yet is ended, too (8.5)."""
    stage = Stage(TREE)
    assert stage.restart("a") == ["stop p/g/a#1"]
    assert stage.exits("a", CRASH) == ["start p/g/a#2 (after stopped)"]


def test_restart_in_a_group_that_is_being_restarted() -> None:
    """It is restarted with its group; its stop keeps its place in the order (8.5)."""
    stage = Stage("p one_for_all\n  a service\n  b service\n  c service backoff=0").all_up()
    stage.exits("c", CRASH)
    assert stage.restart("a") == []
    assert answer(stage) == (True, "ok")
    assert stage.phase("a") == "running"
    assert stage.restart("b") == []
    assert stage.phase("b") == "stopping (group) until 10"


def test_restart_of_a_supervisor_keeps_all_counters_below() -> None:
    """Windows and rows on every level are as before; what had ended runs again (8.5)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one\n    h one_for_one\n      a service backoff=0\n    b"
    ).all_up()
    stage.exits("a", CRASH, at=10)
    stage.ready("a")
    stage.exits("b", COMPLETED)
    stage.restart("g", at=20)
    assert stage.exits("a", STOPPED) == ["start p/g/h/a#3 (attempt 2, after stopped)"]
    assert stage.ready("a") == ["start p/g/b#2 (after completed)"]
    assert stage.supervisor("h").restarts == (10.0,)
    assert stage.segment("a").streak == 1
    assert stage.supervisor("p").restart_count == 0


def test_restart_of_the_root() -> None:
    """Everything goes down in reverse and comes up in order; no halt (8.5)."""
    stage = Stage(TREE).all_up()
    trace = stage.restart("p")
    for name in "cba":
        trace += stage.exits(name, STOPPED)
    assert trace == [
        "stop p/c#1",
        "stop p/g/b#1",
        "stop p/g/a#1",
        "start p/g/a#2 (after stopped)",
    ]


def test_restart_of_a_supervisor_in_a_group_that_is_being_restarted() -> None:
    """It is restarted with its group (8.5)."""
    stage = Stage(
        "p one_for_all\n  g one_for_one\n    a service\n  b service\n  c service backoff=0"
    ).all_up()
    stage.exits("c", CRASH)
    assert stage.restart("g") == []
    assert stage.phase("g") == "up"


# ------------------------------------------------------------------------------ failed and forgiven


def failed() -> Stage:
    """A root that let go of `a` and of `g`."""
    stage = Stage(
        "p one_for_one max_restarts=0\n  a service\n  g one_for_one max_restarts=0\n"
        "    b service\n  c service"
    ).all_up()
    stage.exits("a", CRASH)
    stage.exits("b", CRASH)
    assert stage.supervisor("p").failed
    return stage


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_taking_up_the_offender_forgives(verb: str) -> None:
    """The pipeline counts as failed no more (8.7)."""
    stage = failed()
    assert getattr(stage, verb)("a") == ["start p/a#2 (after error(ValueError: no))"]
    assert not stage.supervisor("p").failed


def test_starting_a_failed_root_starts_all_it_gave_up() -> None:
    """And nobody else is touched (8.7)."""
    stage = failed()
    orders = stage.start("p")
    assert [line.split(" (")[0] for line in orders] == ["start p/a#2", "start p/g/b#2"]
    assert not stage.supervisor("p").failed
    assert stage.latest("c") == 1


def test_restarting_a_failed_root_forgives() -> None:
    """It comes up as new (8.7)."""
    stage = failed()
    stage.restart("p")
    stage.exits("c", STOPPED)
    assert not stage.supervisor("p").failed


def test_start_after_a_root_went_down_as_a_whole() -> None:
    """A root that halted as failed comes up again as a whole (8.4)."""
    stage = Stage("p one_for_all max_restarts=0\n  a service\n  b service").all_up()
    stage.exits("a", CRASH)
    stage.exits("b", STOPPED)
    assert stage.orders == ["halt failed"]
    assert stage.start("b") == ["start p/a#2 (after error(ValueError: no))"]


# --------------------------------------------------------------------------------------------- down


def test_down_when_all_is_down() -> None:
    """It halts at once (7.6)."""
    stage = Stage("p one_for_one")
    assert stage.drain() == ["halt"]
    assert stage.drain() == ["halt"]
    assert answer(stage) == (True, "already_stopped")


def test_down_overtakes_a_restart_of_the_root() -> None:
    """Nothing comes up again (7.6)."""
    stage = Stage("p one_for_one\n  a service").all_up()
    stage.restart("p")
    stage.drain()
    assert answer(stage) == (True, "ok")
    assert stage.exits("a", STOPPED) == ["halt"]


WORDS = {
    "stop a": "yes ok: stopping",
    "stop a, stop a": "yes ok: being stopped already; it will stay down",
    "stop a, gone a, stop a": "yes already_stopped: was not running; it will stay down",
    "die a, stop a": "yes ok: its next start is called off",
    "start a": "no already_running: p/a is already running",
    "stop a, start a": "yes ok: being stopped; it starts again when it is gone",
    "stop a, gone a, start a": "yes ok: starting",
    "restart a": "yes ok: restarting",
    "stop g, start b": "yes ok: p/g starts again as a whole when it is down",
    "stop g, gone b, gone g1, start b": "yes ok: all of p/g is starting",
    "stop g": "yes ok: stopping, last child first",
    "stop g, stop g": "yes ok: being stopped already; it will stay down",
    "stop g, gone b, gone g1, stop g": "yes already_stopped: was not running; it will stay down",
    "start g": "no already_running: p/g is already running",
    "restart g": "yes ok: restarting, with everything below",
    "die g1, restart b": "yes ok: being restarted with its group already",
    "die g1, start b": "yes ok: being stopped by its supervisor; it starts again with it",
    "start w": "yes waiting: waits for p/a, p/c",
    "drain p": "yes ok: going down",
    "drain p, drain p": "yes ok: going down already",
    "drain p, start a": "no going_down: p is going down",
    "drain p, gone c, gone b, gone g1, gone a, drain p": "yes already_stopped: is down already",
    "stop p": "yes ok: going down",
    "start nobody": "no no_such_target: p has no node of that path",
}
"""What was done before, and the answer to the last of it."""


@pytest.mark.parametrize("story", WORDS)
def test_answers_word_for_word(story: str) -> None:
    """People read these, and scripts compare the code: none changes unnoticed (8.1)."""
    stage = Stage(
        "p one_for_one\n  a backoff=9\n  g one_for_all\n    g1 service backoff=9\n"
        "    b service\n  c\n  w after=p/a,p/c"
    ).all_up()
    for verb, name in (part.split() for part in story.split(", ")):
        if verb == "gone":
            stage.exits(name, STOPPED)
        elif verb == "die":
            stage.exits(name, CRASH)
        elif name == "nobody":
            stage.tell(StartRequested("p/nobody", request=1))
        else:
            stage.drain() if verb == "drain" else getattr(stage, verb)(name)
    answers = [line for line in stage.said if line.startswith("answer")]
    assert answers == [f"answer 1 {WORDS[story]}"]


def test_answer_about_what_the_root_gave_up() -> None:
    """Starting a failed root is answered in words, too; so is what waits for its turn."""
    stage = Stage("p one_for_one max_restarts=0\n  a service\n  b service").all_up()
    stage.exits("b", CRASH)
    assert "start p/b#2" in stage.start("p")[0]
    assert "answer 1 yes ok: starting again what was given up" in stage.said


def test_answer_to_a_stop_while_a_supervisor_backs_off() -> None:
    """Its next start is called off, and what its segments held is given back."""
    stage = Stage(
        "p one_for_one\n  g one_for_one max_restarts=0 backoff=9\n    a service\n    b service"
    ).all_up()
    stage.exits("a", CRASH)
    stage.exits("b", STOPPED)
    stage.stop("g")
    assert "answer 1 yes ok: its next start is called off" in stage.said
    assert "release p/g/b#1" in stage.said


def test_start_below_takes_back_the_stops_on_the_way() -> None:
    """A segment that a person stopped comes up with its supervisor when that person starts it."""
    stage = Stage("p one_for_one\n  g one_for_one\n    a service\n    b service").all_up()
    for name in ("a", "b"):
        stage.stop(name)
        stage.exits(name, STOPPED)
    stage.stop("g")
    stage.start("a")
    assert stage.segment("a").wanted
    assert not stage.segment("b").wanted
    assert stage.all_up().phases() == {"a": "running", "b": "idle"}


def test_restart_in_a_group_takes_back_a_stop() -> None:
    """Stopped and restarted while its group goes down: it comes up with the group."""
    stage = Stage("p one_for_all\n  a service backoff=9\n  b service").all_up()
    stage.exits("a", CRASH)
    stage.stop("b")
    assert not stage.segment("b").wanted
    stage.restart("b")
    assert stage.segment("b").wanted
    stage.exits("b", STOPPED)
    stage.tick(at=9)
    assert stage.all_up().phases() == {"a": "running", "b": "running"}


def test_answer_before_its_turn() -> None:
    """While its supervisor comes up: a segment, and a branch as a whole (8.6)."""
    stage = Stage("p one_for_one\n  a service\n  b service\n  g one_for_one\n    c service")
    assert stage.start("b") == []
    assert "answer 1 yes ok: starts when its turn comes" in stage.said
    assert stage.start("c") == []
    assert "answer 1 yes ok: all of p/g starts when its turn comes" in stage.said
    assert stage.phase("g") == "down"
