"""The forecast: it is the real core's, it is bounded, and it says who stays untouched."""

from __future__ import annotations

import json
from random import Random

import pytest
from random_stories import draw_pipeline
from stage import COMPLETED, CRASH, OOM, Stage, reason_of, spec_of

from supervisor.core.codec import encode_state
from supervisor.core.events import ExitReason
from supervisor.core.foresight import (
    MAX_FAILURES,
    Faults,
    Foresight,
    foresee,
    noticed_after_s,
    rehearse,
)
from supervisor.core.spec import Backoff, Health, Kind, Probe, SegmentSpec, SupervisorSpec
from supervisor.core.tree import Segment, Tree

DIGITS = """
p one_for_one
  data rest_for_one temporary
    ingest
    features after=p/data/ingest
    baseline after=p/data/features
  training one_for_one temporary max_restarts=3
    train after=p/data/features
  evaluate after=p/training/train
  serve service permanent
"""


def if_(text: str, **faults: str) -> Foresight:
    """What follows in that tree if these segments, by their last names, fail in that way."""
    spec = spec_of(text)
    paths = {path.rpartition("/")[2]: path for path in Tree(spec).nodes}
    return rehearse(spec, {paths[name]: reason_of(how) for name, how in faults.items()})


def touched(forecast: Foresight) -> set[str]:
    return {path.rpartition("/")[2] for path in forecast.touched}


def test_every_attempt_the_end_and_the_blast_radius_are_told() -> None:
    """Tries at +1, +3, +7 s; the fourth restart is one too many; who needs it waits for ever."""
    forecast = if_(DIGITS, train="oom")
    train = forecast.fates["p/training/train"]
    assert train.failures == [0, 1, 3, 7]
    assert train.starts == [1, 3, 7]
    training = forecast.fates["p/training"]
    assert (training.gave_up_s, training.how) == (7, "gave_up")
    assert "3 restarts" in training.limit
    assert forecast.fates["p/evaluate"].blocked_by == ("p/training/train",)
    assert touched(forecast) == {"train", "training", "evaluate"}
    assert (forecast.settled_s, forecast.halted) == (7, False)


def test_several_faults_at_once() -> None:
    """Each takes its own course, and the blast radius is that of both."""
    forecast = if_(DIGITS, train="oom", serve="exit(3)")
    assert forecast.fates["p/serve"].failures == [0, 1, 3, 7, 15, 31]
    assert touched(forecast) == {"train", "training", "evaluate", "serve", "p"}


def test_a_group_restart_stops_from_the_right_and_starts_all_again() -> None:
    """Those after the dead one go and come with it; those before it go when all is given up."""
    forecast = if_(
        "p rest_for_one max_restarts=1\n  a service\n  b service\n  c service", b="error(E)"
    )
    assert forecast.fates["p/c"].stops == [0, 1]
    assert forecast.fates["p/c"].starts == [1]
    assert forecast.fates["p/a"].stops == [1]
    assert forecast.halted


def test_a_hang_is_noticed_by_the_probe_and_killed_after_the_grace() -> None:
    """What hangs does not hear the signal: the grace passes, then it starts again."""
    probe = Probe("notify", period_s=4.0, failures=3)
    child = SegmentSpec("a", health=Health(alive=probe), backoff=Backoff(2.0, 1.0, 2.0, 0.0))
    forecast = rehearse(SupervisorSpec("p", (child,), max_restarts=1), {"p/a": reason_of("hang")})
    assert forecast.fates["p/a"].failures == [12, 36]
    assert forecast.fates["p/a"].starts == [24]
    assert forecast.fates["p/a"].stops == []


def test_a_hang_without_a_probe_is_said_to_go_unnoticed() -> None:
    """Nobody would see it: that is the forecast."""
    forecast = if_("p one_for_one\n  a service", a="hang")
    assert forecast.unnoticed == ("p/a",)
    assert forecast.settled_s == 0


def test_a_hang_that_nobody_kills_never_settles() -> None:
    """An infinite grace waits for ever."""
    child = SegmentSpec("a", health=Health(alive=Probe("tcp")))
    spec = spec_of("p one_for_one\n  a service grace=none")
    (segment,) = spec.children
    assert isinstance(segment, SegmentSpec)
    deaf = SegmentSpec("a", health=child.health, shutdown=segment.shutdown)
    forecast = rehearse(SupervisorSpec("p", (deaf,)), {"p/a": reason_of("hang")})
    assert forecast.settled_s is None
    assert forecast.fates["p/a"].end == "stopping"


def test_a_start_that_is_never_ready_is_ended_by_its_timeout() -> None:
    """The start that fails first is the fault itself; each later one takes its whole time."""
    forecast = if_("p one_for_one max_restarts=2\n  a start_timeout=30", a="start_timeout")
    assert forecast.fates["p/a"].failures == [30, 61, 93]
    assert forecast.fates["p/a"].starts == [31, 63]


def test_a_time_quota_counts_only_if_it_is_the_fault() -> None:
    """The others are obedient: they are not said to run into theirs."""
    text = "p one_for_one max_restarts=1\n  a time=100\n  b time=10"
    forecast = if_(text, a="deadline")
    assert forecast.fates["p/a"].failures == [100, 201]
    assert touched(forecast) == {"p", "a"}
    assert if_("p one_for_one\n  a", a="deadline").unnoticed == ("p/a",)


def test_a_fault_that_is_no_failure_ends_it() -> None:
    """A task that completes: its dependents start, nothing is restarted."""
    forecast = if_(DIGITS, train="completed")
    assert forecast.fates["p/training/train"].how == "completed"
    assert forecast.fates["p/evaluate"].end == "running"


def test_a_faulty_task_fails_once_its_turn_comes() -> None:
    """It waits for another that is faulty: there is nothing of it that could fail."""
    forecast = if_(DIGITS, features="oom", train="oom")
    assert forecast.fates["p/training/train"].failures == []
    assert forecast.fates["p/training/train"].blocked_by == ("p/data/features",)


@pytest.mark.parametrize(("lean", "last_s"), [(-1.0, 3.5), (0.0, 7.0), (1.0, 10.5)])
def test_jitter_gives_bounds(lean: float, last_s: float) -> None:
    """Leaning to either side gives the earliest and the latest that the last try can be."""
    child = SegmentSpec("a", backoff=Backoff(1.0, 2.0, 60.0, jitter=0.5))
    spec = SupervisorSpec("p", (child,), max_restarts=3, max_seconds=600.0)
    forecast = rehearse(spec, {"p/a": OOM}, lean=lean)
    assert forecast.fates["p/a"].starts[-1] == last_s


def test_a_stop_is_told_once_and_a_kill_without_grace_is_one() -> None:
    """Who has no grace is killed at once: stopped by the others, like those that are asked."""
    text = "p one_for_all max_restarts=1\n  a\n  b grace=0\n  c"
    assert if_(text, a="error(E)").fates["p/b"].stops == [0, 1]
    assert if_(text, a="error(E)", c="hang").fates["p/c"].stops == [0]
    assert if_("p one_for_one\n  a grace=0", a="oom").fates["p/a"].stops == []


def test_a_supervisor_that_starts_again_is_told() -> None:
    """When, for each time that it is brought up."""
    forecast = if_(
        "p rest_for_one max_restarts=2 backoff=4\n  g one_for_one max_restarts=0 backoff=4\n    a",
        a="oom",
    )
    assert forecast.fates["p/g"].starts == [4, 8]
    assert forecast.fates["p/g/a"].failures == [0, 4, 8]


def test_a_running_obedient_one_does_not_run_into_its_quota() -> None:
    """Its deadline stands in the saved state, and is left out of the forecast."""
    stage = Stage("p one_for_one max_restarts=2\n  a backoff=50\n  b time=60").all_up()
    states = {path: encode_state(state) for path, state in stage.tree.states.items()}
    forecast = foresee(stage.spec, states, {"p/a": OOM}, 1.0)
    assert forecast.fates["p/a"].failures == [0, 50, 100]
    assert forecast.fates["p/b"].failures == forecast.fates["p/b"].starts == []
    assert not forecast.fates["p/b"].touched


def test_a_running_pipeline_goes_on_from_where_it_stands() -> None:
    """Restarts that are used up count, and a backoff that runs is waited for."""
    stage = Stage("p one_for_one max_restarts=3\n  a service\n  b service").all_up(at=100)
    stage.exits("a", CRASH, at=110)
    states = {path: encode_state(state) for path, state in stage.tree.states.items()}
    forecast = foresee(stage.spec, json.loads(json.dumps(states)), {"p/a": OOM}, 110.5)
    fate = forecast.fates["p/a"]
    assert fate.starts == [0.5, 2.5, 6.5]
    assert fate.before == "backing_off"
    assert not forecast.fates["p/b"].touched


def test_what_happens_anyway_is_not_laid_to_the_fault() -> None:
    """Another backoff that runs already ends in its own time: that one is untouched."""
    stage = Stage("p one_for_one max_restarts=9\n  a service\n  b service").all_up()
    stage.exits("b", CRASH, at=1)
    states = {path: encode_state(state) for path, state in stage.tree.states.items()}
    forecast = foresee(stage.spec, states, {"p/a": OOM}, 1.5)
    assert forecast.fates["p/b"].starts == [0.5]
    assert forecast.touched == ("p", "p/a")


def test_it_is_what_the_core_does() -> None:
    """The same failures told to a real tree: the same starts at the same times."""
    forecast = if_(DIGITS, train="oom")
    stage = Stage(DIGITS).all_up()
    for name in ("ingest", "features", "baseline"):
        stage.exits(name, COMPLETED)
        stage.all_up()
    seen: list[float] = []
    stage.exits("train", OOM)
    while stage.phase("train").startswith("backing_off"):
        due_s = stage.next()
        assert due_s is not None
        stage.tick(at=due_s)
        seen.append(due_s)
        stage.ready("train")
        stage.exits("train", OOM)
    assert seen == forecast.fates["p/training/train"].starts


@pytest.mark.parametrize("seed", range(40))
def test_every_tree_has_a_forecast(seed: int) -> None:
    """Whatever the tree and the fault: it ends, its times rise, and only who is faulty fails."""
    chance = Random(seed)
    spec = draw_pipeline(chance)
    paths = [path for path, node in Tree(spec).nodes.items() if isinstance(node, Segment)]
    kinds = ("oom", "error(E)", "hang", "start_timeout", "node_lost", "deadline", "completed")
    faults: Faults = {path: _any(chance, kinds) for path in paths if chance.random() < 0.5}
    forecast = rehearse(spec, faults)
    for path, fate in forecast.fates.items():
        assert fate.failures == sorted(fate.failures)
        assert path in faults or fate.failures == []
        assert len(fate.failures) <= MAX_FAILURES


def _any(chance: Random, kinds: tuple[str, ...]) -> ExitReason:
    return reason_of(chance.choice(kinds))


def test_a_tree_that_never_settles_is_cut_off() -> None:
    """A limit that is never used up: the forecast ends and says that it does not."""
    child = SegmentSpec("a", Kind.SERVICE, backoff=Backoff(1.0, 1.0, 1.0, 0.0))
    spec = SupervisorSpec("p", (child,), max_restarts=10**9)
    forecast = rehearse(spec, {"p/a": OOM})
    assert forecast.settled_s is None
    assert len(forecast.fates["p/a"].failures) == MAX_FAILURES


def test_when_a_hang_is_noticed() -> None:
    """A watchdog: the time of all asks together; a probe: each ask and its answer."""
    assert noticed_after_s(Health(alive=Probe("notify", period_s=2.0, failures=4))) == 8
    tcp = Probe("tcp", period_s=2.0, timeout_s=1.0, failures=4)
    assert noticed_after_s(Health(alive=tcp)) == 12
