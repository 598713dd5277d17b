"""Policy by cause: which rule holds, what it counts, what the next attempt gets. Section 12."""

from __future__ import annotations

import pytest
from stage import COMPLETED, CRASH, OOM, STOPPED, Stage, reason_of, spec_of

from supervisor.core.actions import Adjust, Start
from supervisor.core.causes import adjusted, cause_of, rule_for
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.reconfigure import reconfigure
from supervisor.core.spec import Adjustments, Body, OnExit, Quota, SegmentSpec

ONE = "p one_for_one max_restarts=1 max_seconds=3600\n  a service {words} backoff=0\n  b service"
GROWING = "memory=100 env=BATCH:64 on_exit=oom/tries:3/memory:x2<=300/BATCH:half"


def given(stage: Stage) -> Adjustments | None:
    """What the life gets that the latest step began."""
    (start,) = [action for action in stage.last.actions if isinstance(action, Start)]
    return start.adjustments


@pytest.mark.parametrize(
    ("exit_", "cause"),
    [
        ("error(ValueError: no)", "error[ValueError]"),
        ("error(KeyError: no)", "error"),
        ("exit(42)", "exit[42]"),
        ("exit(78)", "exit[78]"),
        ("exit(1)", None),
        ("signal(SIGKILL)", "signal[SIGKILL]"),
        ("signal(SIGSEGV)", None),
        ("oom", "oom"),
        ("hang", None),
    ],
)
def test_most_exact_rule_holds(exit_: str, cause: str | None) -> None:
    """Exactly this exit before its kind, and `never_on` names exact ones (12.1)."""
    causes = ("error", "error[ValueError]", "exit[42]", "signal[SIGKILL]", "oom")
    spec = SegmentSpec(
        "a", on_exit=tuple(OnExit(one) for one in causes), never_on=frozenset({"78", "ValueError"})
    )
    found = rule_for(spec, reason_of(exit_))
    assert (found and found.cause) == cause
    assert found is None or found.retries is (cause != "exit[78]")


def test_cause_of_every_kind_is_a_word_or_a_word_in_brackets() -> None:
    """What `on_exit` can name is what an exit can be."""
    assert {cause_of(ExitReason(kind)) for kind in ExitKind} == {kind.value for kind in ExitKind}
    assert cause_of(ExitReason(ExitKind.QUOTA, "disk")) == "quota[disk]"


@pytest.mark.parametrize("exit_", ["exit(42)", "error(ValueError: no)"])
def test_give_up_is_at_once_and_alone(exit_: str) -> None:
    """What cannot succeed on a second try is not tried again; nobody is charged (12.2)."""
    words = "on_exit=exit[42]/give_up;error[ValueError]/give_up"
    stage = Stage(ONE.format(words=words)).all_up()
    assert stage.exits("a", reason_of(exit_), at=1) == []
    assert stage.phases() == {"a": "ended gave_up", "b": "running"}
    assert stage.supervisor("p").restarts == ()
    assert "not worth a second try (on_exit)" in stage.said[0]


def test_restart_takes_one_cause_back_from_a_coarser_give_up() -> None:
    """`error: give_up` and `error[ValueError]: restart` hold beside each other (12.1)."""
    stage = Stage(ONE.format(words="on_exit=error/give_up;error[ValueError]")).all_up()
    assert stage.exits("a", CRASH, at=1) == ["start p/a#2 (attempt 2, after error(ValueError: no))"]
    stage.ready("a")
    stage.exits("a", reason_of("error(KeyError: no)"), at=2)
    assert stage.phase("a") == "ended gave_up"


def test_tries_are_charged_to_no_other_limit() -> None:
    """Three tries after `oom`, though supervisor and budget allow one and no restart (12.3)."""
    stage = Stage(ONE.format(words="budget=0 on_exit=oom/tries:3")).all_up()
    for life in (2, 3, 4):
        stage.exits("a", OOM, at=life)
        assert stage.latest("a") == life
        stage.ready("a")
    assert stage.supervisor("p").restarts == ()
    assert stage.supervisor("p").restart_count == 3
    assert stage.segment("a").streak == 0
    stage.exits("a", OOM, at=9)
    assert stage.phases() == {"a": "ended gave_up", "b": "running"}
    assert "its 3 tries after oom used up" in stage.said[0]


def test_other_causes_are_charged_as_ever() -> None:
    """Out of memory twice does not use up the crash budget, nor the other way round (12.3)."""
    stage = Stage(ONE.format(words="budget=1 on_exit=oom/tries:2")).all_up()
    for number, reason in enumerate((OOM, CRASH, OOM), start=1):
        stage.exits("a", reason, at=number)
        stage.ready("a")
    assert stage.latest("a") == 4
    assert len(stage.segment("a").restarts) == 1
    stage.exits("a", CRASH, at=5)
    assert "its own budget of 1 restart is used up" in stage.said[0]


def test_no_tries_give_up_at_the_first() -> None:
    """`tries: 0` is a budget of none (12.3)."""
    stage = Stage(ONE.format(words="on_exit=hang/tries:0")).all_up()
    stage.hangs("a", at=1)
    stage.exits("a", STOPPED, at=2)
    assert stage.phase("a") == "ended gave_up"


def test_tries_of_a_slow_start() -> None:
    """`start_timeout` is a cause like any other (12.3)."""
    text = "p one_for_one\n  a service start_timeout=5 backoff=0 on_exit=start_timeout/tries:1"
    stage = Stage(text)
    for at in (5.0, 10.0):
        stage.tick(at=at)
        stage.exits("a", STOPPED, at=at)
    assert stage.phase("a") == "ended gave_up"
    assert stage.latest("a") == 2


def test_attempt_and_delay_count_all_restarts_in_a_row() -> None:
    """The backoff grows whoever counts the restart, and the body is told its attempt (12.3)."""
    stage = Stage("p one_for_one\n  a service backoff=1*2<=60 on_exit=oom/tries:5").all_up()
    for reason, delay_s, attempt in ((OOM, 1, 2), (CRASH, 2, 3), (OOM, 4, 4)):
        stage.exits("a", reason, at=stage.now_s)
        assert stage.next() == stage.now_s + delay_s
        assert f"attempt {attempt}" in stage.tick(at=stage.next())[0]
        stage.ready("a")


def test_quota_grows_from_its_present_value_up_to_its_cap() -> None:
    """100, 200, and then 300 where 400 would be over the cap; BATCH is halved each time (12.4)."""
    stage = Stage(ONE.format(words=GROWING)).all_up()
    for at, (memory, batch) in enumerate(((200, "32"), (300, "16"), (300, "8")), start=1):
        stage.exits("a", OOM, at=at)
        assert given(stage) == Adjustments({"memory_bytes": memory}, {"BATCH": batch})
        stage.ready("a")


def test_growth_without_tries_is_charged_and_counted() -> None:
    """A rule may only grow; then the other limits count its restarts (12.4)."""
    stage = Stage(ONE.format(words="memory=100 on_exit=oom/memory:x1.5")).all_up()
    stage.exits("a", OOM, at=1)
    assert given(stage) == Adjustments({"memory_bytes": 150})
    assert stage.supervisor("p").restarts == (1,)


def test_growth_holds_for_every_next_life() -> None:
    """A crash in between, a person's restart and a daemon's death keep what has grown (12.5)."""
    stage = Stage(ONE.format(words=GROWING)).all_up()
    grown = Adjustments({"memory_bytes": 200}, {"BATCH": "32"})
    stage.exits("a", OOM, at=1)
    assert any("start p/a#2" in line for line in stage.reload())
    stage.ready("a")
    stage.exits("a", CRASH, at=2)
    assert given(stage) == grown
    stage.ready("a")
    stage.restart("a", at=3)
    stage.exits("a", STOPPED, at=3)
    assert given(stage) == grown


def test_orders_given_again_are_the_same() -> None:
    """After a crash between saving and acting, the start carries what it carried (12.4)."""
    stage = Stage(ONE.format(words=GROWING)).all_up()
    stage.exits("a", OOM, at=1)
    before = [action for action in stage.last.actions if isinstance(action, Start)]
    stage.reload()
    from supervisor.core import outstanding

    assert before == [one for one in outstanding(stage.tree) if isinstance(one, Start)]


def test_start_after_giving_up_keeps_what_has_grown() -> None:
    """A person's start touches no counter: the tries stay used up, the quota stays grown (12.5)."""
    stage = Stage(ONE.format(words="memory=100 on_exit=oom/tries:1/memory:x2")).all_up()
    for at in (1, 2):
        stage.exits("a", OOM, at=at)
        if at == 1:
            stage.ready("a")
    assert stage.phase("a") == "ended gave_up"
    stage.start("a", at=3)
    assert given(stage) == Adjustments({"memory_bytes": 200})
    stage.ready("a")
    stage.exits("a", OOM, at=4)
    assert stage.phase("a") == "ended gave_up"


def test_healthy_run_of_a_service_forgets_its_causes() -> None:
    """A service that was well for long enough starts with what is declared (12.5)."""
    stage = Stage(ONE.format(words=f"{GROWING} reset_after=60")).all_up()
    stage.exits("a", OOM, at=1)
    stage.ready("a")
    stage.exits("a", CRASH, at=100)
    assert given(stage) is None
    assert stage.segment("a").tries == ()


def test_healthy_run_of_a_service_ends_every_row() -> None:
    """A service that runs out of memory once a month is given more for one month only (12.5)."""
    stage = Stage(ONE.format(words=f"{GROWING} reset_after=60")).all_up()
    for at in (1, 100, 200, 300, 400):
        stage.exits("a", OOM, at=at)
        assert given(stage) == Adjustments({"memory_bytes": 200}, {"BATCH": "32"})
        stage.ready("a")


def test_task_that_ends_as_before_was_not_healthy() -> None:
    """Hours of training that end out of memory again have overcome nothing (12.5)."""
    stage = Stage(ONE.format(words=GROWING).replace("a service", "a task")).all_up()
    for at, memory in ((1000, 200), (2000, 300), (3000, 300)):
        stage.exits("a", OOM, at=at)
        assert given(stage) == Adjustments({"memory_bytes": memory}, env_of(stage))
        stage.ready("a")
    stage.exits("a", OOM, at=4000)
    assert stage.phase("a") == "ended gave_up"


def env_of(stage: Stage) -> dict[str, str]:
    """The variables of the life that the latest step began."""
    adjustments = given(stage)
    assert adjustments is not None
    return dict(adjustments.env)


def test_task_that_ends_otherwise_was_healthy() -> None:
    """The same long run that ends with another cause clears the first one's row (12.5)."""
    stage = Stage(ONE.format(words=GROWING).replace("a service", "a task")).all_up()
    stage.exits("a", OOM, at=1000)
    stage.ready("a")
    stage.exits("a", CRASH, at=2000)
    assert given(stage) is None


def test_clean_ends_ask_no_rule() -> None:
    """`on_exit` is about failures; a completed task is done (12.1)."""
    text = "p one_for_one\n  a task on_exit=error/give_up;oom/tries:9"
    stage = Stage(text).all_up()
    stage.exits("a", COMPLETED, at=1)
    assert stage.phase("a") == "ended completed"


def test_temporary_segment_is_never_tried_again() -> None:
    """The restart type is asked first (12.1)."""
    stage = Stage("p one_for_one\n  a task temporary on_exit=oom/tries:9").all_up()
    stage.exits("a", OOM, at=1)
    assert stage.phase("a") == "ended failed"


def test_own_tries_take_the_group_along() -> None:
    """The strategy is the supervisor's, whoever counts the restart (12.3)."""
    text = "p one_for_all max_restarts=0\n  a service backoff=0 on_exit=oom/tries:1\n  b service"
    stage = Stage(text).all_up()
    assert stage.exits("a", OOM, at=1) == ["stop p/b#1"]
    assert stage.exits("b", STOPPED, at=1) == ["start p/a#2 (attempt 2, after oom)"]
    assert stage.supervisor("p").restarts == ()


def test_time_quota_of_the_present_life_is_its_deadline() -> None:
    """A grown or given time quota is what the core waits for (12.4, 12.6)."""
    stage = Stage("p one_for_one\n  a service time=10").all_up(at=0)
    assert stage.next() == 10
    stage.restart("a", at=1, given=Adjustments({"time_s": 99.0}))
    stage.exits("a", STOPPED, at=1)
    stage.ready("a", at=2)
    assert stage.next() == 2 + 99
    stage.tick(at=101)
    assert any("its time quota of 99s" in line for line in stage.said)


def test_half_and_double_of_what_is_declared() -> None:
    """Halving ends at 1, a text is set as it is, what is no number stays (12.4)."""
    words = "env=A:5,B:3,C:x on_exit=oom/tries:9/A:half/B:double/C:half/D:low"
    stage = Stage(ONE.format(words=words)).all_up()
    for at, (half, double) in enumerate((("2", "6"), ("1", "12"), ("1", "24")), start=1):
        stage.exits("a", OOM, at=at)
        assert env_of(stage) == {"A": half, "B": double, "D": "low"}
        stage.ready("a")


def test_two_causes_that_grow_the_same() -> None:
    """What one cause has grown is what the next one grows from (12.4)."""
    words = "memory=100 on_exit=oom/tries:9/memory:x2;hang/tries:9/memory:x3<=500"
    stage = Stage(ONE.format(words=words)).all_up()
    stage.exits("a", OOM, at=1)
    stage.ready("a")
    stage.hangs("a", at=2)
    stage.exits("a", STOPPED, at=2)
    assert given(stage) == Adjustments({"memory_bytes": 500})


def test_cap_takes_nothing_back() -> None:
    """What one cause has grown beyond another one's cap stays as it is (12.4)."""
    words = "memory=100 on_exit=oom/tries:9/memory:x9;hang/tries:9/memory:x2<=500"
    stage = Stage(ONE.format(words=words)).all_up()
    stage.exits("a", OOM, at=1)
    stage.ready("a")
    stage.hangs("a", at=2)
    stage.exits("a", STOPPED, at=2)
    assert given(stage) == Adjustments({"memory_bytes": 900})


def test_two_causes_that_halve_the_same() -> None:
    """The second halves what the first has halved (12.4)."""
    words = "env=BATCH:64 on_exit=oom/tries:9/BATCH:half;hang/tries:9/BATCH:half"
    stage = Stage(ONE.format(words=words)).all_up()
    stage.exits("a", OOM, at=1)
    stage.ready("a")
    stage.hangs("a", at=2)
    stage.exits("a", STOPPED, at=2)
    assert env_of(stage) == {"BATCH": "16"}


# ------------------------------------------------------------------------------ for one attempt


def test_person_gives_one_life_something() -> None:
    """Only the life that follows the restart has it (12.6)."""
    stage = Stage(ONE.format(words="memory=100")).all_up()
    more = Adjustments({"memory_bytes": 700}, {"BATCH": "64"})
    stage.restart("a", at=1, given=more)
    stage.exits("a", STOPPED, at=1)
    assert given(stage) == more
    assert any("start p/a#2" in line for line in stage.reload())
    stage.ready("a")
    stage.exits("a", CRASH, at=2)
    assert given(stage) is None


@pytest.mark.parametrize(
    "phase", ["stopped", "backing off", "being restarted", "below a stopped one"]
)
def test_person_gives_it_to_the_next_life_whatever_the_phase(phase: str) -> None:
    """Where nothing lives, the next life is the one that begins now or in its turn (12.6)."""
    text = "p one_for_one\n  g one_for_one\n    a service backoff=5\n    b service"
    stage = Stage(text).all_up()
    more = Adjustments(env={"BATCH": "64"})
    if phase == "backing off":
        stage.exits("a", CRASH, at=1)
    elif phase == "being restarted":
        stage.restart("a", at=1)
    else:
        stage.stop("g" if phase == "below a stopped one" else "a", at=1)
        if phase == "below a stopped one":
            stage.exits("b", STOPPED, at=1)
        stage.exits("a", STOPPED, at=1)
    stage.restart("a", at=2, given=more)
    if phase == "being restarted":
        stage.exits("a", STOPPED, at=3)
    assert given(stage) == more


def test_plain_restart_takes_back_what_was_given() -> None:
    """Two restarts before the life began: the later one says what it gets (12.6)."""
    stage = Stage(ONE.format(words="memory=100")).all_up()
    stage.restart("a", at=1, given=Adjustments({"memory_bytes": 700}))
    stage.restart("a", at=2)
    stage.exits("a", STOPPED, at=3)
    assert given(stage) is None


def test_what_is_given_outweighs_what_has_grown() -> None:
    """A person's value is that value, and not multiplied (12.6)."""
    stage = Stage(ONE.format(words=GROWING)).all_up()
    stage.exits("a", OOM, at=1)
    stage.ready("a")
    stage.restart("a", at=2, given=Adjustments({"memory_bytes": 250}))
    stage.exits("a", STOPPED, at=2)
    assert given(stage) == Adjustments({"memory_bytes": 250}, {"BATCH": "32"})


def test_supervisor_is_given_nothing() -> None:
    """A supervisor has no quota: refused, and nothing is restarted (12.6)."""
    stage = Stage("p one_for_one\n  g one_for_one\n    a service").all_up()
    assert stage.restart("g", given=Adjustments({"memory_bytes": 1})) == []
    assert stage.said == ["answer 1 no not_a_segment: p/g is no segment; name the one you mean"]
    assert stage.phase("a") == "running"


def test_live_change_keeps_what_a_life_was_given() -> None:
    """A new limit is applied with what has grown on top, and what a person gave outweighs it."""
    stage = Stage(ONE.format(words="memory=100 on_exit=oom/tries:3/memory:x2")).all_up()
    stage.exits("a", OOM, at=1)
    stage.ready("a")
    more = spec_of(ONE.format(words="memory=150 on_exit=oom/tries:3/memory:x2"))
    made = reconfigure(stage.tree, more, 2.0)
    assert [one for one in made.actions if isinstance(one, Adjust)] == [
        Adjust("p/a", 2, Adjustments({"memory_bytes": 300}))
    ]
    stage.tree = made.tree
    stage.restart("a", at=3, given=Adjustments({"memory_bytes": 700}))
    stage.exits("a", STOPPED, at=3)
    stage.ready("a")
    made = reconfigure(stage.tree, stage.spec, 4.0)
    assert [one for one in made.actions if isinstance(one, Adjust)] == []


def test_adjusted_spec_is_the_declared_one_with_the_changes() -> None:
    """What is not mentioned stays as it is declared (12.4)."""
    spec = SegmentSpec("a", quota=Quota(processes=3), body=Body(env={"A": "1", "B": "2"}))
    found = adjusted(spec, Adjustments({"memory_bytes": 5}, {"B": "3"}))
    assert found.quota == Quota(processes=3, memory_bytes=5)
    assert found.body.env == {"A": "1", "B": "3"}
    assert adjusted(spec, None) is spec
