"""The table, cell by cell: docs/semantics.md, section 2."""

from __future__ import annotations

import pytest
from stage import COMPLETED, CRASH, OOM, STOPPED, Stage

from supervisor.core.events import (
    Exited,
    Ready,
    RestartRequested,
    Started,
    StartRequested,
    StopRequested,
    Unresponsive,
)
from supervisor.core.spec import Kind, Quota, Restart, SegmentSpec, Shutdown, SupervisorSpec
from supervisor.core.state import (
    BackingOff,
    Ended,
    Ending,
    Idle,
    Killing,
    Phase,
    Running,
    SegmentState,
    Starting,
    Stopping,
    Waiting,
    Why,
)
from supervisor.core.transitions import (
    COLUMNS,
    TABLE,
    DeadlinePassed,
    Input,
    MustGo,
    Then,
    TurnCame,
    move,
)
from supervisor.core.tree import Segment, Tree
from supervisor.errors import IllegalEvent

PHASES: tuple[Phase, ...] = (
    Idle(),
    Waiting(1.0),
    Starting(1.0, 61.0),
    Running(1.0, 21.0),
    Stopping(1.0, 11.0, Why.GROUP),
    Killing(1.0, 6.0, Why.GROUP),
    BackingOff(1.0, 3.0),
    Ended(1.0, Ending.COMPLETED),
)
INPUTS: tuple[Input, ...] = (
    Started("p/a", 2, pid=7),
    Ready("p/a", 2),
    Exited("p/a", 2, CRASH),
    Unresponsive("p/a", 2),
    TurnCame(cleared=True),
    MustGo(Why.GROUP),
    DeadlinePassed(),
    StopRequested("p/a"),
    StartRequested("p/a"),
    RestartRequested("p/a"),
)

# What each cell of the table leads to: the next phase, and what is left for the supervisor.
# `=` no change, `!` cannot be. The order of rows and columns is that of INPUTS and PHASES.
OUTCOMES = """
    =       =        =         =         =         =         =       =
    =       =        Running   =         =         =         =       =
    =       =        Idle+DECIDE Idle+DECIDE Idle  Idle      =       =
    =       =        =         Stopping  =         =         =       =
    Starting Starting !        !         !         !         !       !
    =       Idle     Stopping  Stopping  =         =         Idle    Idle
    !       !        Stopping  Stopping  Killing   Killing   Idle+BEGIN !
    Idle    Idle     Stopping  Stopping  Stopping  Killing   Idle    Ended
    Idle+BEGIN =     =         =         Stopping  Killing   Idle+BEGIN Idle+BEGIN
    Idle+BEGIN =     Stopping  Stopping  Stopping  Killing   Idle+BEGIN Idle+BEGIN
"""
CELLS = [
    (event, phase, outcome)
    for event, row in zip(INPUTS, OUTCOMES.strip().splitlines(), strict=True)
    for phase, outcome in zip(PHASES, row.split(), strict=True)
]


def segment_in(phase: Phase, spec: SegmentSpec | None = None) -> Segment:
    """A segment of incarnation 2 in that phase, alone below its supervisor."""
    tree = Tree(SupervisorSpec("p", (spec or SegmentSpec("a", quota=Quota(time_s=20.0)),)))
    segment = tree.nodes["p/a"]
    assert isinstance(segment, Segment)
    segment.state = SegmentState(phase, incarnation=2)
    return segment


def test_table_has_a_cell_for_everything() -> None:
    """Every input meets every phase, and the test below looks at each of them."""
    assert {type(phase) for phase in PHASES} == set(COLUMNS)
    assert {type(event) for event in INPUTS} == set(TABLE)
    assert all(len(row) == len(COLUMNS) for row in TABLE.values())


@pytest.mark.parametrize(
    ("event", "phase", "outcome"),
    CELLS,
    ids=[f"{type(event).__name__}-in-{type(phase).__name__}" for event, phase, _ in CELLS],
)
def test_cell(event: Input, phase: Phase, outcome: str) -> None:
    """Phase and input lead to the phase that section 2 says, and to nothing else (2.1-2.6)."""
    segment = segment_in(phase)
    before = segment.state
    if outcome == "!":
        with pytest.raises(IllegalEvent, match="p/a"):
            move(segment, event, 5.0)
        return
    made = move(segment, event, 5.0)
    name, _, then = outcome.partition("+")
    if name == "=":
        assert made.state is before
    else:
        assert type(made.state.phase).__name__ == name
    assert made.then is (Then[then] if then else Then.NOTHING)
    assert segment.state is before, "a rule must not change anything"
    asked = isinstance(event, StopRequested | StartRequested | RestartRequested)
    assert (made.reply is not None) is asked


@pytest.mark.parametrize("phase", [Idle(), Waiting(1.0), BackingOff(1.0, 3.0), PHASES[-1]])
@pytest.mark.parametrize("event", INPUTS[:4], ids=lambda event: type(event).__name__)
def test_news_after_the_end_are_reported(event: Input, phase: Phase) -> None:
    """Where nothing lives, news about the latest life are old news (1.3)."""
    made = move(segment_in(phase), event, 5.0)
    assert [type(action).__name__ for action in made.actions] == ["Report"]


def test_start_goes_on_counting_lives() -> None:
    """The next life has the next number, its deadline, and knows how the last one ended (1.2)."""
    stage = Stage("p one_for_one\n  a service backoff=2 start_timeout=7")
    assert stage.said == ["start p/a#1"]
    assert stage.phase("a") == "starting until 7"
    stage.ready("a")
    stage.exits("a", OOM, at=10)
    assert stage.tick(at=12) == ["start p/a#2 (attempt 2, after oom)"]
    assert stage.phase("a") == "starting until 19"


@pytest.mark.parametrize(
    ("grace", "order", "phase"),
    [
        ("3", "stop p/a#1", "stopping (user_stop) until 13"),
        ("none", "stop p/a#1", "stopping (user_stop)"),
        ("0", "kill p/a#1", "killing (user_stop) until 15"),
    ],
)
def test_grace(grace: str, order: str, phase: str) -> None:
    """Seconds until the kill, for ever, or at once (2.4)."""
    stage = Stage(f"p one_for_one\n  a service grace={grace}").all_up()
    assert stage.stop("a", at=10) == [order]
    assert stage.phase("a") == phase


def test_kill_is_repeated_until_the_exit_is_heard() -> None:
    """After the grace a kill, and one more every five seconds (2.4)."""
    stage = Stage("p one_for_one\n  a service grace=3").all_up()
    stage.stop("a", at=10)
    assert stage.tick(at=12.9) == []
    assert stage.tick(at=13) == ["kill p/a#1"]
    assert stage.tick(at=17.9) == []
    assert stage.tick(at=18) == ["kill p/a#1"]
    assert stage.next() == 23
    stage.exits("a", STOPPED, at=19)
    assert stage.next() is None


def test_second_reason_to_stop_extends_no_deadline() -> None:
    """A stop that is under way keeps its kill deadline whoever else wants it gone (2.4)."""
    stage = Stage("p one_for_one\n  a service grace=3").all_up()
    stage.restart("a", at=10)
    stage.stop("a", at=12)
    assert stage.phase("a") == "stopping (user_stop) until 13"
    stage.drain(at=12.5)
    assert stage.phase("a") == "stopping (user_stop) until 13"


def test_kill_of_a_killing_segment_keeps_its_time() -> None:
    """Another reason to stop does not postpone the next kill either (2.4)."""
    stage = Stage("p one_for_one\n  a service grace=0").all_up()
    stage.restart("a", at=10)
    stage.stop("a", at=12)
    assert stage.phase("a") == "killing (user_stop) until 15"


@pytest.mark.parametrize(
    ("line", "trouble", "cause"),
    [
        ("a start_timeout=5", "slow", "start_timeout"),
        ("a time=5", "late", "deadline"),
        ("a", "hang", "hang"),
    ],
)
@pytest.mark.parametrize("said", [COMPLETED, STOPPED, CRASH, OOM], ids=str)
def test_stop_for_a_failure_is_the_cause(line: str, trouble: str, cause: str, said: object) -> None:
    """What a body says while it is stopped for a failure is not why it ended (2.2, 2.3)."""
    stage = Stage(f"p one_for_one\n  {line} backoff=1")
    if trouble != "slow":
        stage.ready("a")
    stage.hangs("a") if trouble == "hang" else stage.tick(at=5)
    stage.exits("a", said, at=6)  # type: ignore[arg-type]
    assert str(stage.segment("a").last_exit) == cause
    assert stage.phase("a") == "backing_off until 7"


@pytest.mark.parametrize("kind", ["task", "service"])
@pytest.mark.parametrize("said", [COMPLETED, CRASH, OOM, STOPPED], ids=str)
def test_asked_to_end(kind: str, said: object) -> None:
    """A life that was asked to end was stopped; only a task can have completed by then (2.5)."""
    stage = Stage(f"p one_for_one\n  a {kind}").all_up()
    stage.stop("a", at=1)
    stage.exits("a", said, at=2)  # type: ignore[arg-type]
    completed = kind == "task" and said is COMPLETED
    assert str(stage.segment("a").last_exit) == ("completed" if completed else "stopped")
    assert stage.phase("a") == ("ended completed" if completed else "idle")
    assert stage.said == ["release p/a#1"]


def test_ready_twice_does_not_prolong_the_quota() -> None:
    """A repeated Ready, as adoption sends it, leaves the time quota as it was (2.6)."""
    stage = Stage("p one_for_one\n  a time=20").all_up()
    stage.ready("a", at=10)
    assert stage.phase("a") == "running until 20"


@pytest.mark.parametrize("news", ["started", "ready", "hangs"])
def test_news_while_being_stopped_change_nothing(news: str) -> None:
    """A body may become ready or hang on its way out; it goes all the same (2.6)."""
    stage = Stage("p one_for_one\n  a service")
    stage.stop("a", at=1)
    before = stage.segment("a")
    getattr(stage, news)("a")
    assert stage.segment("a") is before
    assert stage.said == []


@pytest.mark.parametrize(
    ("seconds", "streak"), [(59.9, 2), (60.0, 1)], ids=["too short", "long enough"]
)
@pytest.mark.parametrize("how", ["exits", "hangs"])
def test_healthy_run_ends_the_row(seconds: float, streak: int, how: str) -> None:
    """`reset_after_s` of running, however it ends, make the next restart the first (4.3)."""
    stage = Stage("p one_for_one\n  a service backoff=0 reset_after=60").all_up()
    stage.exits("a", at=10)
    stage.ready("a", at=10)
    getattr(stage, how)("a", at=10 + seconds)
    if how == "hangs":
        stage.exits("a", STOPPED)
    assert stage.segment("a").streak == streak


def test_run_to_the_deadline_is_not_healthy() -> None:
    """A task that always runs into its time quota is not restarted for ever (4.3)."""
    stage = Stage("p one_for_one max_restarts=2\n  a time=600 backoff=0 reset_after=60").all_up()
    for _ in range(3):
        stage.tick(at=stage.next())
        stage.exits("a", STOPPED)
        stage.ready("a") if stage.phase("a").startswith("starting") else None
    assert stage.phase("a") == "ended gave_up"


def test_healthy_run_clears_an_ageless_budget_only() -> None:
    """Restarts that never age are cleared by health; those with a window age by time (4.3)."""
    stage = Stage(
        "p one_for_one\n  a service budget=9 backoff=0\n  b service budget=9/999 backoff=0"
    ).all_up()
    for name in "ab":
        stage.exits(name, at=10)
        stage.ready(name)
    assert stage.segment("a").restarts == stage.segment("b").restarts == (10.0,)
    stage.restart("a", at=100)
    stage.restart("b", at=100)
    assert stage.segment("a").restarts == ()
    assert stage.segment("b").restarts == (10.0,)


def test_stop_signal_without_grace_of_a_temporary_task() -> None:
    """The spec's own words: a temporary, brutally killed task is dropped with its group (5.6)."""
    spec = SegmentSpec(
        "a", kind=Kind.TASK, restart=Restart.TEMPORARY, shutdown=Shutdown(grace_s=0.0)
    )
    segment = segment_in(Running(1.0), spec)
    killing = move(segment, MustGo(Why.GROUP), 5.0)
    segment.state = killing.state
    gone = move(segment, Exited("p/a", 2, OOM), 6.0)
    assert gone.state.phase == Ended(6.0, Ending.DROPPED)
    assert [type(action).__name__ for action in gone.actions] == ["Report", "Release"]


def test_hang_without_a_word_is_reported_in_words() -> None:
    """What the probe has to say is reported, or else that there was no answer (2.3)."""
    stage = Stage("p one_for_one\n  a service").all_up()
    stage.tell(Unresponsive("p/a", 1))
    assert "report unresponsive p/a: no longer answers" in stage.said
