"""The loop: what is saved, in which order it acts, and what it does when the outside fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor.core.events import Exited
from supervisor.core.spec import (
    Backoff,
    Kind,
    Quota,
    Restart,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.state import Running
from supervisor.errors import BackendUnavailable, LostOwnership, StoreError
from supervisor.runtime.driver import LOOK_EVERY_S, RETRY_SAVE_AFTER_S, SAMPLES_EVERY_S
from supervisor.runtime.inbox import Knock
from supervisor.runtime.ports import Notice, Owner
from tests.runtime.world import COMPLETED, OOM, World

BACKOFF = Backoff(first_s=2.0, jitter=0.0)
SERVE = SegmentSpec("serve", kind=Kind.SERVICE, restart=Restart.PERMANENT, backoff=BACKOFF)
TRAIN = SegmentSpec("train", backoff=BACKOFF)


def pipeline(*children, **options) -> SupervisorSpec:
    return SupervisorSpec("p", children, **options)


@pytest.fixture
def world() -> World:
    world = World(pipeline(SERVE, TRAIN))
    world.open()
    world.settle()
    return world


def test_a_launch_writes_every_node_and_starts_in_order(world):
    """The rows are there before the first body is, cells are asked for early, order is kept."""
    assert list(world.contents.nodes) == ["p", "p/serve", "p/train"]
    assert world.contents.nodes["p/serve"].kind == "service"
    assert world.contents.nodes["p/train"].parent == "p"
    assert "children" not in world.contents.nodes["p"].spec
    assert world.orders("prepare", "start") == [
        ("prepare", "p/serve", 0),
        ("prepare", "p/train", 0),
        ("start", "p/serve", 1),
        ("start", "p/train", 1),
    ]
    assert world.state("p")["phase"] == "up"
    assert world.contents.state == "up"
    assert world.points.index("before store.create") < world.points.index("before backend.start")


def test_nothing_is_ordered_before_it_is_saved(world):
    """When the start of a new life reaches the backend, the store already knows that life."""
    seen = []

    def look(order):
        seen.append(world.state(order.path)["incarnation"] == order.incarnation)

    world.bodies.on_start = look
    world.bodies.end("p/serve", OOM)
    world.settle()
    world.advance(2.0)
    assert seen == [True]
    assert world.bodies.living["p/serve"] == 2


def test_the_record_of_a_life_tells_its_whole_story(world):
    """Start, pid, evidence of the start and of the end, cause and log stand in one row."""
    world.advance(5.0)
    world.bodies.end("p/train", OOM, peak_memory_bytes=77)
    world.settle()
    life = world.life("p/train", 1)
    assert (life.started_s, life.ready_s, life.ended_s) == (1000.0, 1000.0, 1005.0)
    assert (life.pid, life.node, life.reason_kind) == (1002, "memory", "oom")
    assert life.log == "/psup/p/train/logs/1.log"
    assert life.evidence == {"pid": 1002, "peak_memory_bytes": 77}


def test_the_cause_is_the_cores_where_the_core_knows_better():
    """A body that is stopped at its deadline says `stopped`; the record says `deadline`."""
    world = World(pipeline(replace(TRAIN, quota=Quota(time_s=10.0))))
    world.open()
    world.settle()
    world.advance(10.0)
    assert world.life("p/train", 1).reason_kind == "deadline"


def test_a_late_echo_of_an_old_life_changes_no_record(world):
    """News from a past incarnation is reported, and what is known of that life stays."""
    world.bodies.end("p/serve", OOM)
    world.settle()
    world.advance(2.0)
    before = world.life("p/serve", 1)
    echo = Exited("p/serve", 1, COMPLETED)
    world.inbox.receive(Notice(echo, "p/serve", 1, {"peak_memory_bytes": 1}))
    world.advance(1.0)
    assert world.life("p/serve", 1) == before
    assert world.contents.journal[-1].entry.type == "stale_event"


def test_the_journal_holds_every_event_and_every_order(world):
    """What happened can be told again from the journal alone."""
    world.bodies.end("p/train", COMPLETED)
    world.settle()
    told = [(line.entry.kind, line.entry.type, line.entry.path) for line in world.contents.journal]
    assert ("action", "Start", "p/serve") in told
    assert ("event", "Started", "p/serve") in told
    assert ("event", "Exited", "p/train") in told
    exited = next(line.entry for line in world.contents.journal if line.entry.type == "Exited")
    assert exited.data["reason"]["kind"] == "completed"


def test_a_token_is_given_back_only_after_the_news_is_in_the_store(world):
    """A cell keeps a result until it is safe."""
    known_when_saved = []

    world.bodies.on_saved = lambda path: known_when_saved.append(world.state(path)["phase"])
    world.bodies.end("p/train", COMPLETED)
    world.settle()
    assert known_when_saved == ["ended"]


def test_measurements_are_gathered_before_they_are_written(world):
    """They wake nobody, are written in one go, and bear the time at which they came."""
    world.bodies.measure("p/serve", memory_bytes=5, progress=[1, 4], status="warm")
    assert world.inbox.is_empty()
    world.advance(SAMPLES_EVERY_S / 2)
    assert world.contents.samples == {}
    world.advance(SAMPLES_EVERY_S)
    (sample,) = world.contents.samples["p/serve", 1]
    assert (sample.at_s, sample.memory_bytes, sample.status) == (1000.0, 5, "warm")
    assert (sample.progress_done, sample.progress_total) == (1, 4)


def test_a_request_is_answered_with_the_step_it_caused(world):
    """The answer stands in the store together with the new state."""
    request = world.ask("stop", "p/serve")
    assert world.contents.answers[request].ok
    assert world.state("p/serve")["wanted"] is False
    assert not world.store.pending_requests()


@pytest.mark.parametrize(
    ("verb", "path", "code"),
    [("start", "p/serve", "already_running"), ("stop", "p/x", "no_such_target")],
)
def test_a_refusal_is_an_answer_too(world, verb, path, code):
    """The person learns why, and nothing was changed."""
    request = world.ask(verb, path)
    answer = world.contents.answers[request]
    assert (answer.ok, answer.code) == (False, code)


def test_a_verb_from_a_newer_command_line_is_refused(world):
    """It is answered, or whoever asked would wait for ever."""
    request = world.ask("dance", "p/serve")
    assert world.contents.answers[request].code == "unknown_verb"


def test_a_lost_ring_costs_at_most_a_second(world):
    """Without any ring the requests are looked at as soon as the second is over, not before."""
    world.driver.turn()
    request = world.database.ask("stop", "p/serve")
    world.clock.advance(LOOK_EVERY_S * 0.9)
    world.driver.turn()
    assert request not in world.contents.answers
    world.clock.advance(LOOK_EVERY_S * 0.2)
    world.driver.turn()
    assert request in world.contents.answers


def test_a_turn_with_nothing_to_do_writes_nothing(world):
    """An idle daemon leaves the disk alone."""
    saves = world.points.count("before store.save")
    for _ in range(5):
        world.advance(LOOK_EVERY_S)
    assert world.points.count("before store.save") == saves


def test_a_start_that_cannot_be_ordered_is_a_failed_life_of_that_segment_only(world):
    """The core decides what follows; the neighbour does not notice."""
    world.bodies.on_start = refuse(ValueError("no such module"))
    world.bodies.end("p/serve", OOM)
    world.settle()
    world.advance(2.0)
    assert world.state("p/serve")["phase"] == "backing_off"
    assert world.state("p/serve")["last_exit"] == {
        "kind": "error",
        "detail": "ValueError: no such module",
    }
    assert world.state("p/train")["phase"] == "running"


def test_a_backend_that_is_gone_ends_the_driver(world):
    """No order can succeed: a fresh process is the cure, and the store knows what was in flight."""
    world.bodies.on_start = refuse(BackendUnavailable("Ray is gone"))
    world.bodies.end("p/serve", OOM)
    world.driver.turn()
    world.clock.advance(2.0)
    with pytest.raises(BackendUnavailable):
        world.driver.turn()
    assert world.state("p/serve")["phase"] == "starting"


def test_what_a_dying_backend_says_last_is_not_believed(world):
    """Every cell looks dead when Ray is; the next process will find out who is."""
    world.bodies.lose("p/serve")
    world.inbox.lose("the raylet ended")
    with pytest.raises(BackendUnavailable, match="the raylet ended"):
        world.driver.turn()
    assert world.state("p/serve")["phase"] == "running"


def test_what_could_not_be_saved_was_never_heard(world):
    """State, orders and answers wait; when the store is back the same news has the same effect."""
    world.store.save = failing(world.store.save, times=1)
    request = world.database.ask("stop", "p/serve")
    world.bodies.end("p/train", COMPLETED)
    world.inbox.knock()
    before = list(world.bodies.saved_tokens)
    with pytest.raises(StoreError):
        world.driver.turn()
    assert isinstance(world.driver.tree.states["p/train"].phase, Running)
    assert world.orders("stop") == []
    assert world.bodies.saved_tokens == before
    world.settle()
    assert world.state("p/train")["phase"] == "ended"
    assert world.contents.answers[request].ok
    assert world.orders("stop") == [("stop", "p/serve", 1)]
    assert world.bodies.saved_tokens > before


def test_several_steps_that_could_not_be_saved_are_undone_in_reverse(world):
    """Two changes of one segment in one turn: it stands where it stood before the first."""
    world.store.save = failing(world.store.save, times=1)
    world.bodies.end("p/train", COMPLETED)
    world.database.ask("restart", "p/train")
    before = dict(world.driver.tree.states)
    world.inbox.knock()
    with pytest.raises(StoreError):
        world.driver.turn()
    assert dict(world.driver.tree.states) == before
    world.settle()
    assert world.bodies.living["p/train"] == 2


def test_a_store_that_is_away_for_a_moment_is_waited_for(world):
    """The loop tries again, a known number of times, with growing pauses."""
    world.store.save = failing(world.store.save, times=3)
    world.inbox.drain()
    halt = world.driver.run(leave_when_failed=False)
    assert not halt.failed
    assert world.pauses == list(RETRY_SAVE_AFTER_S[:3])


def test_a_store_that_stays_away_ends_the_driver_loudly(world):
    """After the last attempt the error goes to the daemon, and nothing was ordered."""
    world.store.save = failing(world.store.save, times=1000)
    world.inbox.drain()
    with pytest.raises(StoreError):
        world.driver.run(leave_when_failed=False)
    assert world.pauses == list(RETRY_SAVE_AFTER_S)
    assert world.orders("stop") == []


def test_a_driver_that_lost_its_pipeline_stops_acting_at_once(world):
    """No retry, no order: somebody else decides now."""
    world.bodies.end("p/serve", OOM)
    world.settle()
    usurper = type(world.store)("p", world.database, is_alive=lambda _: False)
    usurper.claim(Owner(2, 2, "boot", "usurper", 0))
    world.clock.advance(2.0)
    with pytest.raises(LostOwnership):
        world.driver.run(leave_when_failed=False)
    assert world.pauses == []
    assert world.orders("start")[-1] == ("start", "p/train", 1)


def test_measurements_that_cannot_be_written_are_no_reason_to_die(world):
    """They are evidence, not truth; the driver goes on."""
    world.store.add_samples = failing(world.store.add_samples, times=1)
    world.bodies.measure("p/serve", memory_bytes=5)
    world.advance(SAMPLES_EVERY_S)
    world.bodies.measure("p/serve", memory_bytes=6)
    world.advance(SAMPLES_EVERY_S)
    assert [one.memory_bytes for one in world.contents.samples["p/serve", 1]] == [6]


def test_a_drain_takes_everything_down_in_reverse_and_ends_the_loop(world):
    """The loop returns the core's last word."""
    world.inbox.drain()
    assert not world.driver.run(leave_when_failed=False).failed
    assert world.orders("stop") == [("stop", "p/train", 1), ("stop", "p/serve", 1)]
    assert world.bodies.living == {}


def test_a_second_interrupt_kills_what_does_not_want_to_go():
    """Nobody waits for a grace period that a person has cut short; the states stay true."""
    stubborn = replace(SERVE, shutdown=Shutdown(grace_s=None))
    world = World(pipeline(stubborn, TRAIN))
    world.open()
    world.settle()
    world.bodies.is_deaf("p/serve")
    world.bodies.is_deaf("p/train")
    world.inbox.drain()
    world.settle()
    assert world.bodies.living
    world.inbox.knock(Knock.HURRY)
    assert not world.driver.run(leave_when_failed=False).failed
    assert world.bodies.living == {}
    assert world.state("p/serve")["phase"] == "idle"


@pytest.fixture
def fallen() -> World:
    """A pipeline whose root has given up as a whole."""
    fragile = pipeline(SERVE, TRAIN, strategy=Strategy.ONE_FOR_ALL, max_restarts=0)
    world = World(fragile)
    world.open()
    world.settle()
    world.bodies.end("p/serve", OOM)
    return world


def test_a_pipeline_that_failed_ends_a_foreground_daemon(fallen):
    """A container ends when what it contains has given up."""
    assert fallen.driver.run(leave_when_failed=True).failed
    assert fallen.contents.state == "failed"


def test_a_pipeline_that_failed_can_be_started_again_in_the_background(fallen):
    """The daemon stays for whoever asks why, and obeys a start."""
    fallen.settle()
    assert fallen.contents.state == "failed"
    request = fallen.ask("start", "p")
    assert fallen.contents.answers[request].ok
    assert fallen.contents.state == "up"
    assert fallen.bodies.living == {"p/serve": 2, "p/train": 2}
    fallen.inbox.drain()
    assert not fallen.driver.run(leave_when_failed=False).failed


def test_a_daemon_that_died_after_the_last_word_does_not_wait_for_another(world):
    """Everything is down in the store: the next daemon has only to leave."""
    world.inbox.drain()
    world.settle()
    world.open()
    assert not world.driver.run(leave_when_failed=False).failed


def test_a_new_launch_sweeps_first_and_goes_on_counting(world):
    """Bodies of an earlier launch are gone before new ones start; numbers never repeat."""
    world.contents.info = {"launch": "an earlier one"}
    world.open()
    world.settle()
    assert world.bodies.living == {"p/serve": 2, "p/train": 2}


def test_a_resumed_launch_removes_bodies_that_it_does_not_know(world):
    """A body of a segment at rest, left over from whatever, is gone after a restart."""
    world.bodies.end("p/train", COMPLETED)
    world.settle()
    world.bodies.leave_over("p/train")
    world.open()
    assert world.bodies.living == {"p/serve": 1}


def test_every_save_is_shown(world):
    """Whoever watches the launch is told to look, once for each save."""
    assert world.saves_shown == world.points.count("after store.save")


def refuse(error):
    def raises(order):
        raise error

    return raises


def failing(call, *, times):
    left = iter(range(times))

    def fails(*arguments):
        if next(left, None) is not None:
            raise StoreError("the disk is full")
        return call(*arguments)

    return fails
