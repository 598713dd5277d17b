"""A spec that is changed while the driver runs: saved with its step, known to the next daemon."""

from __future__ import annotations

from dataclasses import replace

import pytest
from world import World

from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Body, Kind, Quota, SegmentSpec, SupervisorSpec
from supervisor.runtime.ports import Notice

SERVE = SegmentSpec("serve", kind=Kind.SERVICE, body=Body(command=("serve",)))
TRAIN = SegmentSpec("train", kind=Kind.SERVICE, body=Body(command=("train",), env={"BATCH": "64"}))
WATCH = SegmentSpec("watch", kind=Kind.SERVICE, body=Body(command=("watch",)))
SPEC = SupervisorSpec("p", (SERVE, TRAIN))


def changed(spec: SupervisorSpec, *children: SegmentSpec) -> SupervisorSpec:
    """The same pipeline with other children."""
    return replace(spec, children=children)


@pytest.fixture
def world() -> World:
    world = World(SPEC)
    world.open()
    world.settle()
    world.bodies.orders.clear()
    return world


def test_a_policy_is_changed_and_nobody_is_touched(world):
    """More restarts, other words: the store shows it and no body hears of it."""
    answer = world.change(replace(SPEC, max_restarts=9))
    assert (answer.ok, answer.text) == (True, "1 changed")
    assert world.bodies.orders == []
    assert world.contents.nodes["p"].spec["max_restarts"] == 9
    assert world.contents.info["generation"] == 1


def test_a_different_body_gets_a_fresh_life_from_the_new_spec(world):
    """Only that segment is stopped and started, and its start carries what was applied."""
    started = []
    world.bodies.on_start = started.append
    other = replace(TRAIN, body=replace(TRAIN.body, params={"rate": 2}))
    assert world.change(changed(SPEC, SERVE, other)).ok
    assert world.orders("stop", "start") == [("stop", "p/train", 1), ("start", "p/train", 2)]
    assert started[0].spec.body.params == {"rate": 2}
    assert world.state("p/train")["restart_count"] == 0


def test_a_limit_is_changed_in_the_living_body(world):
    """Memory of a running segment: adjusted, not restarted; the next life has it as well."""
    assert world.change(changed(SPEC, SERVE, replace(TRAIN, quota=Quota(memory_bytes=9)))).ok
    assert world.orders("adjust", "stop") == [("adjust", "p/train", 1)]


def test_less_memory_than_is_in_use_is_refused(world):
    """The kernel would have to kill for it; nothing is changed."""
    world.inbox.receive(Notice(None, "p/train", 1, {"memory_bytes": 2_000_000_000}))
    wanted = replace(TRAIN, quota=Quota(memory_bytes=1_000_000_000))
    answer = world.change(changed(SPEC, SERVE, wanted))
    assert (answer.ok, answer.code) == (False, "memory_in_use")
    assert "uses 1907 MiB of memory now" in answer.text
    assert world.bodies.orders == []
    assert world.driver.tree.declared == SPEC
    assert "generation" not in world.contents.info


def test_nodes_come_and_go_with_the_step_that_says_so(world):
    """The removed one is stopped and then has no row; the new one starts and has one."""
    assert world.change(changed(SPEC, SERVE, WATCH)).text == "1 added, 1 removed"
    assert world.orders("stop", "start") == [("stop", "p/train", 1), ("start", "p/watch", 1)]
    assert list(world.contents.nodes) == ["p", "p/serve", "p/watch"]
    assert not world.driver.tree.is_changing


def test_a_node_that_comes_back_goes_on_with_its_numbers(world):
    """No incarnation is used twice, whatever happened to the row."""
    world.change(changed(SPEC, SERVE))
    world.change(SPEC)
    assert world.orders("start")[-1] == ("start", "p/train", 2)


def test_a_node_that_is_leaving_can_be_told_nothing(world):
    """It refuses a restart in so many words, and goes."""
    world.bodies.is_deaf("p/train")
    world.change(changed(SPEC, SERVE))
    request = world.ask("restart", "p/train")
    assert world.contents.answers[request].code == "leaving"
    world.bodies.end("p/train", ExitReason(ExitKind.STOPPED))
    world.settle()
    assert list(world.contents.nodes) == ["p", "p/serve"]


def test_the_spec_of_another_pipeline_is_refused(world):
    """By its name, with its own code, and nothing is changed."""
    answer = world.change(replace(SPEC, name="q"))
    assert (answer.ok, answer.code) == (False, "another_pipeline")
    assert world.driver.tree.declared == SPEC


def test_a_segment_does_not_become_a_supervisor(world):
    """They would need the same path at once; the person is told what to do instead."""
    answer = world.change(replace(SPEC, children=(SERVE, SupervisorSpec("train"))))
    assert (answer.ok, answer.code) == (False, "node_changed_kind")
    assert "is a segment and would become a supervisor" in answer.text


def test_a_spec_that_never_arrived_is_refused(world):
    """The daemon was another one when it was handed over: ask again."""
    request = world.database.ask("apply", "p", {"parcel": "gone"})
    world.settle()
    assert world.contents.answers[request].code == "spec_lost"


def test_no_value_of_the_environment_is_stored(world):
    """Rows hold what tells a change; the journal holds the name of what is different."""
    other = replace(TRAIN, body=replace(TRAIN.body, env={"BATCH": "s3cret"}))
    world.change(changed(SPEC, SERVE, other))
    spec = world.contents.nodes["p/train"].spec
    assert spec["body"]["env"] == {"BATCH": None}
    assert spec["env_fingerprints"] == {"BATCH": "BATCH has 6 letters"}
    (line,) = [one.entry for one in world.contents.journal if one.entry.type == "SpecChanged"]
    assert line.data["changes"][0]["fields"] == ["body.env.BATCH"]
    assert "s3cret" not in repr(world.contents)


def test_a_crash_anywhere_in_a_change_loses_nothing():
    """Whatever call is the daemon's last, the next one ends where an undisturbed one ends."""
    other = replace(SERVE, body=replace(SERVE.body, params={"port": 1}))
    spec = changed(SPEC, other, WATCH)
    calm = World(SPEC)
    calm.open()
    calm.settle()
    before = len(calm.points)
    calm.change(spec)
    for crash in range(before + 1, len(calm.points) + 1):
        world = World(SPEC)
        world.open()
        world.settle()
        world.crashes = {crash}
        assert world.change(spec).ok, world.points[crash - 1]
        assert list(world.contents.nodes) == ["p", "p/serve", "p/watch"]
        assert world.driver.tree.root.spec == spec
        assert world.bodies.living == {"p/serve": 2, "p/watch": 1}, world.points[crash - 1]
