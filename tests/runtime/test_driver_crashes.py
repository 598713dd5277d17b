"""The daemon dies at every point between two calls of a port, and nobody can tell afterwards.

One story is told once without a crash, to count the calls. Then it is told once for every call,
with a crash there; a new driver opens over what is left and the story goes on. The end must be the
same, no segment may ever have had two bodies, and every request has exactly one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import (
    Backoff,
    Kind,
    Restart,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from tests.runtime.world import COMPLETED, KILLED, OOM, World

ERROR = ExitReason(ExitKind.ERROR, "ValueError: x")
BACKOFF = Backoff(first_s=2.0, jitter=0.0, reset_after_s=1000.0)
SERVE = SegmentSpec("serve", kind=Kind.SERVICE, restart=Restart.PERMANENT, backoff=BACKOFF)
TRAIN = SegmentSpec("train", backoff=BACKOFF)
EVALUATE = SegmentSpec("evaluate", after=("p/training/train",), backoff=BACKOFF)
STUBBORN = replace(SERVE, name="stubborn", shutdown=Shutdown(grace_s=3.0))

Deed = Callable[[World], object]

SINGLE = SupervisorSpec(
    "p",
    (
        SERVE,
        SupervisorSpec("training", (TRAIN,), max_restarts=1, restart=Restart.TEMPORARY),
        EVALUATE,
        STUBBORN,
    ),
)
GROUP = SupervisorSpec(
    "p",
    (
        SERVE,
        SupervisorSpec("training", (TRAIN, STUBBORN), strategy=Strategy.ONE_FOR_ALL),
        EVALUATE,
    ),
    strategy=Strategy.REST_FOR_ONE,
)


def ends(path: str, reason: ExitReason) -> Deed:
    return lambda world: world.bodies.end(path, reason)


def passes(seconds: float) -> Deed:
    return lambda world: world.clock.advance(seconds)


def asks(verb: str, path: str) -> Deed:
    return lambda world: world.database.ask(verb, path)


def is_deaf(path: str) -> Deed:
    return lambda world: world.bodies.is_deaf(path)


STORIES: dict[str, tuple[SupervisorSpec, Sequence[Deed]]] = {
    "a task is restarted, completes, and lets another start": (
        SINGLE,
        [ends("p/training/train", OOM), passes(2.0), ends("p/training/train", COMPLETED)],
    ),
    "a branch gives up and a service is restarted": (
        SINGLE,
        [
            ends("p/training/train", OOM),
            passes(2.0),
            ends("p/serve", KILLED),
            ends("p/training/train", ERROR),
            passes(4.0),
        ],
    ),
    "a person stops, starts and restarts": (
        SINGLE,
        [
            asks("stop", "p/serve"),
            asks("restart", "p/training/train"),
            asks("start", "p/serve"),
            asks("stop", "p/nobody"),
        ],
    ),
    "a body that ignores its stop is killed": (
        SINGLE,
        [is_deaf("p/stubborn"), asks("stop", "p/stubborn"), passes(3.0)],
    ),
    "a group is restarted around a body that is slow to go": (
        GROUP,
        [is_deaf("p/training/stubborn"), ends("p/training/train", OOM), passes(3.0), passes(2.0)],
    ),
    "the first of a row goes and all after it follow": (
        GROUP,
        [ends("p/serve", ERROR), passes(2.0), passes(2.0)],
    ),
    "everything goes down": (
        GROUP,
        [ends("p/training/train", OOM), passes(2.0), asks("down", "p")],
    ),
}


def tell(story: str, *crash_at: int) -> World:
    """Live through a story; the daemon dies at these calls of a port."""
    spec, deeds = STORIES[story]
    world = World(spec)
    world.crashes = set(crash_at)
    world.begin()
    world.settle()
    for deed in deeds:
        deed(world)
        world.settle()
    return world


def ending(world: World) -> dict[str, object]:
    """Return what must not depend on where the daemon died."""
    return {
        "states": {path: row.state for path, row in world.contents.nodes.items()},
        "pipeline": world.contents.state,
        "living": world.bodies.living,
        "answers": world.contents.answers,
        "lives": {
            life: (
                *(record.started_s, record.ready_s, record.ended_s),
                *(record.reason_kind, record.pid, record.log, record.evidence),
            )
            for life, record in world.contents.lives.items()
        },
    }


@pytest.mark.parametrize("story", STORIES)
def test_a_crash_at_any_call_changes_no_story(story):
    """Same tree, same bodies, same answers, same records, wherever the daemon died."""
    undisturbed = tell(story)
    calls = len(undisturbed.points)
    assert calls > 30
    for call in range(1, calls + 1):
        world = tell(story, call)
        assert ending(world) == ending(undisturbed), f"after a crash {world.points[call - 1]}"


@pytest.mark.parametrize("story", STORIES)
def test_a_second_crash_during_the_recovery_changes_no_story_either(story):
    """The recovery itself can be interrupted anywhere and begun again."""
    undisturbed = tell(story)
    calls = len(undisturbed.points)
    for call in range(1, calls + 1, 5):
        for later in (1, 2, 3, 5, 8):
            world = tell(story, call, call + later)
            assert ending(world) == ending(undisturbed)


@pytest.mark.parametrize("story", STORIES)
def test_a_daemon_that_is_killed_again_and_again_still_gets_there(story):
    """Every tenth call is the last of a daemon, and the story ends as it would have."""
    world = tell(story, *range(17, 10_000, 17))
    assert ending(world) == ending(tell(story))


def test_a_body_that_ends_while_no_daemon_is_there_is_heard_of():
    """Its cell keeps the result; adoption asks for it, evidence included."""
    world = tell("a person stops, starts and restarts")
    world.bodies.nobody_listens()
    world.bodies.end("p/training/train", COMPLETED, peak_memory_bytes=9)
    world.open()
    world.settle()
    assert world.state("p/training/train")["how"] == "completed"
    assert world.life("p/training/train", 2).evidence["peak_memory_bytes"] == 9


def test_adoption_touches_no_body():
    """A new daemon over healthy bodies orders nothing but to watch them."""
    world = tell("a person stops, starts and restarts")
    before, lives = len(world.bodies.orders), world.bodies.living
    world.open()
    world.settle()
    assert {verb for verb, *_ in world.bodies.orders[before:]} == {"adopt"}
    assert world.bodies.living == lives
