"""Restart storms: a bucket over the whole pipeline spreads what fails together. Section 13."""

from __future__ import annotations

import pytest
from stage import CRASH, STOPPED, Stage

from supervisor.core.rate import take
from supervisor.core.spec import RestartRate
from supervisor.core.state import Storm

MANY = "p one_for_one max_restarts=99 rate={rate}\n" + "".join(
    f"  g{number} one_for_one\n    s{number} service backoff={{delay}}\n" for number in range(6)
)


def all_die(stage: Stage, at: float = 10.0) -> dict[str, str]:
    """Every segment dies in the same second; what becomes of each."""
    for number in range(6):
        stage.exits(f"s{number}", CRASH, at=at)
    return stage.phases()


@pytest.mark.parametrize("burst", [1, 3, 20])
def test_burst_is_let_through(burst: int) -> None:
    """A full bucket lets its burst through at once, and the rest wait in turn (13.1)."""
    rate, storm, waits = RestartRate(burst, 4.0), None, []
    for _ in range(burst + 3):
        storm, wait_s = take(rate, storm, 5.0)
        waits.append(wait_s)
    assert waits == [0.0] * burst + [0.25, 0.5, 0.75]


def test_bucket_refills_with_time() -> None:
    """Restarts no faster than the rate never wait, however many there are (13.1)."""
    storm = None
    for number in range(100):
        storm, wait_s = take(RestartRate(1, 2.0), storm, number * 0.5)
        assert wait_s == 0
    assert storm == Storm(49.5, 1, 50.0)


def test_nothing_is_dropped_and_order_is_kept() -> None:
    """Six die at once: three start, three follow at two a second, in the order of death (13.2)."""
    stage = Stage(MANY.format(rate="3/2", delay=0)).all_up()
    phases = all_die(stage)
    assert phases == {
        "s0": "starting until 70",
        "s1": "starting until 70",
        "s2": "starting until 70",
        "s3": "backing_off until 10.5",
        "s4": "backing_off until 11",
        "s5": "backing_off until 11.5",
    }
    assert stage.said[0] == (
        "report restart_storm p/g5/s5: restart storm: 6 restarts in 0.0s; this one waits 1.5s more"
    )
    starts = [line for at in (10.5, 11, 11.5) for line in stage.tick(at=at)]
    assert [line.split()[1] for line in starts] == ["p/g3/s3#2", "p/g4/s4#2", "p/g5/s5#2"]


def test_longer_backoff_hides_the_bucket() -> None:
    """Who waits for its backoff anyway does not wait twice, and no storm is reported (13.2)."""
    stage = Stage(MANY.format(rate="3/2", delay=5)).all_up()
    assert set(all_die(stage).values()) == {"backing_off until 15"}
    assert not any("restart_storm" in line for line in stage.said)
    assert stage.supervisor("p").storm == Storm(10.0, 6, 13.0)


def test_group_takes_one_and_holds_off() -> None:
    """A group restart is one restart; it holds off as a whole (13.2)."""
    stage = Stage("p one_for_all rate=1/1\n  a service backoff=0\n  b service").all_up()
    for at, wait in ((10.0, 0.0), (10.5, 0.5)):
        stage.exits("a", CRASH, at=at)
        assert stage.phase("p").startswith("recycling")
        stage.exits("b", STOPPED, at=at)
        stage.tick(at=at + wait)
        stage.all_up()
    assert stage.latest("a") == 3
    assert stage.now_s == 11.0


def test_persons_restarts_take_nothing() -> None:
    """What a person asks for is not slowed down, and slows nobody (13.3)."""
    stage = Stage(MANY.format(rate="1/1", delay=0)).all_up()
    for number in range(6):
        stage.restart(f"s{number}", at=10)
        stage.exits(f"s{number}", STOPPED, at=10)
    assert {phase.split()[0] for phase in stage.phases().values()} == {"starting"}
    assert stage.supervisor("p").storm is None


def test_storm_outlives_the_daemon() -> None:
    """The bucket is part of what is saved (13.1)."""
    stage = Stage(MANY.format(rate="3/2", delay=0)).all_up()
    all_die(stage)
    before = stage.supervisor("p").storm
    stage.reload()
    assert before == stage.supervisor("p").storm == Storm(10.0, 6, 13.0)


def test_without_a_rate_nothing_waits() -> None:
    """The core by itself is OTP: no delay that was not asked for (13.4)."""
    stage = Stage(MANY.format(rate="3/2", delay=0).replace("rate=3/2", "")).all_up()
    assert {phase.split()[0] for phase in all_die(stage).values()} == {"starting"}


def test_one_second_of_a_storm_starts_no_more_than_the_rate() -> None:
    """A crash loop of everybody is held to the rate for as long as it lasts (13.1)."""
    stage = Stage(
        MANY.format(rate="3/2", delay=0)
        .replace("max_restarts=99", "max_restarts=9999")
        .replace("one_for_one\n    s", "one_for_one max_restarts=9999\n    s")
    ).all_up()
    all_die(stage)
    begun: list[float] = []
    while stage.now_s < 60:
        for line in [*stage.orders]:
            if line.startswith("start"):
                begun.append(stage.now_s)
                name = line.split()[1].partition("#")[0]
                stage.ready(name)
                stage.exits(name, CRASH)
                break
        else:
            due = stage.next()
            assert due is not None
            stage.tick(at=due)
    assert max(sum(1 for one in begun if at <= one < at + 10) for at in range(11, 50)) <= 10 * 2 + 3
