"""Random pipelines, and random things that happen to them.

Everything is drawn from a `random.Random`: Hypothesis hands in one that it can shrink, long walks
one with a fixed seed. Nothing is asserted here beyond what the world refuses by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from simulated_world import COMPLETED, CRASH, STOPPED, World

from supervisor.core.events import (
    ExitKind,
    ExitReason,
    RestartRequested,
    StartRequested,
    StopRequested,
    Tick,
    Unresponsive,
)
from supervisor.core.spec import (
    Adjustments,
    AutoShutdown,
    Backoff,
    Budget,
    Grow,
    Kind,
    NodeSpec,
    OnExit,
    Path,
    Quota,
    Restart,
    RestartRate,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.tree import Segment

REASONS = (
    COMPLETED,
    STOPPED,
    CRASH,
    CRASH,
    CRASH,
    ExitReason(ExitKind.EXIT, "78"),
    ExitReason(ExitKind.OOM),
)
BACKOFFS = (
    Backoff(first_s=0.0, max_s=0.0),
    Backoff(first_s=1.0, factor=2.0, max_s=8.0, jitter=0.2, reset_after_s=10.0),
)
ON_EXIT: tuple[tuple[OnExit, ...], ...] = (
    (),
    (),
    (OnExit("oom", tries=2, grow=Grow("time_s", 2.0, 60.0), env={"BATCH": "half"}),),
    (OnExit("error", retries=False), OnExit("hang", tries=0), OnExit("exit[78]", tries=1)),
)
_NEVER_TWICE = (AutoShutdown.NEVER, AutoShutdown.NEVER)  # most trees live on


# ---------------------------------------------------------------------------------------- pipelines


def draw_pipeline(chance: Random) -> SupervisorSpec:
    """A root of any strategy, up to three levels deep."""
    return _draw_supervisor(chance, "p", "p", 2, [])


def _draw_supervisor(
    chance: Random, name: str, path: Path, depth: int, earlier: list[Path]
) -> SupervisorSpec:
    children: list[NodeSpec] = []
    for number in range(chance.randint(0 if depth < 2 else 1, 4)):
        if depth and chance.random() < 0.4:
            inner = f"g{number}"
            children.append(_draw_supervisor(chance, inner, f"{path}/{inner}", depth - 1, earlier))
        else:
            leaf = f"s{number}"
            children.append(_draw_segment(chance, leaf, f"{path}/{leaf}", earlier))
    return SupervisorSpec(
        name,
        tuple(children),
        strategy=chance.choice(list(Strategy)),
        max_restarts=chance.randint(0, 4),
        max_seconds=chance.choice((5.0, 60.0)),
        restart=chance.choice(list(Restart)),
        backoff=chance.choice(BACKOFFS),
        auto_shutdown=chance.choice((*_NEVER_TWICE, *AutoShutdown)),
        restart_rate=chance.choice((None, RestartRate(2, 0.5))) if name == "p" else None,
        significant=chance.random() < 0.3,
    )


def _draw_segment(chance: Random, name: str, path: Path, earlier: list[Path]) -> SegmentSpec:
    """One segment; `after` may name whatever stands before it anywhere in the tree."""
    after = (chance.choice(earlier),) if earlier and chance.random() < 0.3 else ()
    earlier.append(path)
    kind, restart = chance.choice(list(Kind)), chance.choice(list(Restart))
    ends = kind is Kind.TASK and restart is not Restart.PERMANENT
    return SegmentSpec(
        name,
        kind=kind,
        restart=restart,
        after=after,
        start_timeout_s=5.0,
        backoff=chance.choice(BACKOFFS),
        budget=chance.choice((None, None, Budget(1), Budget(2, 10.0))),
        never_on=chance.choice((frozenset[str](), frozenset({"78"}))),
        on_exit=chance.choice(ON_EXIT),
        shutdown=chance.choice((Shutdown(0.0), Shutdown(2.0), Shutdown(None))),
        # What never ends by itself would be restarted at every deadline, and never be at rest.
        quota=Quota(time_s=20.0) if ends and chance.random() < 0.5 else Quota(),
        significant=chance.random() < 0.3,
    )


# --------------------------------------------------------------------------------------- happenings


def play(world: World, chance: Random, moves: int) -> None:
    """Let that many random things happen, half of the times to a tree that is all up."""
    if chance.random() < 0.5:
        world.calm_down(fulfil=lambda _: False, until_s=3.0)
    for _ in range(moves):
        if world.halted is not None:
            return
        PLAYS[chance.choice(sorted(PLAYS))](world, chance)


def _body_is_ready(world: World, chance: Random) -> None:
    if world.bodies:
        world.becomes_ready(chance.choice(sorted(world.bodies)))


def _body_dies(world: World, chance: Random) -> None:
    if world.bodies:
        world.dies(chance.choice(sorted(world.bodies)), chance.choice(REASONS))


def _body_hangs(world: World, chance: Random) -> None:
    if world.bodies:
        path = chance.choice(sorted(world.bodies))
        world.news.append(Unresponsive(path, world.bodies[path], "no watchdog"))


def _news_arrive(world: World, chance: Random) -> None:
    if world.news:
        world.deliver(chance.randrange(len(world.news)), dies_before_acting=chance.random() < 0.1)


def _all_news_arrive(world: World, chance: Random) -> None:
    world.deliver_all()


def _one_dies_and_all_hear_of_it(world: World, chance: Random) -> None:
    _body_dies(world, chance)
    world.deliver_all()


def _old_news_arrive(world: World, chance: Random) -> None:
    """Something is said once more about a life that is over."""
    if not world.old_news:
        return
    event = chance.choice(world.old_news)
    node = world.tree.nodes[event.path]
    assert isinstance(node, Segment)
    if not node.lives or node.state.incarnation > event.incarnation:
        before = world.all_states()
        world.tell(event)
        assert world.all_states() == before, "old news changed something"


def _time_passes(world: World, chance: Random) -> None:
    world.now_s += chance.choice((0.0, 0.5, 1.0, 3.0, 11.0, 70.0))
    world.tell(Tick(), dies_before_acting=chance.random() < 0.1)


def _all_behave(world: World, chance: Random) -> None:
    """Everybody is ready or gone, nothing waits for an hour; some tasks finish."""
    share = chance.random()
    world.calm_down(fulfil=lambda _: chance.random() < share, until_s=world.now_s + 3.0)


def _person_asks(world: World, chance: Random) -> None:
    path = chance.choice(sorted(world.tree.nodes))
    kind = chance.choice((StartRequested, StopRequested, RestartRequested))
    if kind is StopRequested and "/" not in path:
        return  # a stop of the root is the end of the story; it has a test of its own
    before = len(world.answers)
    event = kind(path, request=7)
    if isinstance(event, RestartRequested) and chance.random() < 0.5:
        event = RestartRequested(path, 7, Adjustments({"time_s": 50.0}, {"BATCH": "64"}))
    world.tell(event, dies_before_acting=chance.random() < 0.1)
    assert len(world.answers) == before + 1, "every request gets exactly one answer"


def _saving_fails(world: World, chance: Random) -> None:
    if world.news:
        world.try_in_vain(world.news[0])
    world.try_in_vain(Tick())
    world.try_in_vain(StopRequested(chance.choice(sorted(world.tree.nodes))))


def _daemon_dies(world: World, chance: Random) -> None:
    world.restart_daemon()


PLAYS: Mapping[str, Callable[[World, Random], None]] = {
    "a body is ready": _body_is_ready,
    "a body dies": _body_dies,
    "a body dies and that is heard": _one_dies_and_all_hear_of_it,
    "a body dies and that is heard, too": _one_dies_and_all_hear_of_it,
    "a body hangs": _body_hangs,
    "news": _news_arrive,
    "more news": _news_arrive,
    "all news": _all_news_arrive,
    "old news": _old_news_arrive,
    "time": _time_passes,
    "all behave": _all_behave,
    "a person asks": _person_asks,
    "saving fails": _saving_fails,
    "the daemon dies": _daemon_dies,
}
