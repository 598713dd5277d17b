"""What a real Erlang/OTP did, replayed on our core: start by start, stop by stop.

The golden file is written by `scripts/otp/make_golden`; a difference here is a bug of ours or a
decision that docs/semantics.md must name.
"""

from __future__ import annotations

import json
import pathlib
from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from supervisor.core import Step, boot, step
from supervisor.core.actions import Action, Kill, Start, Stop
from supervisor.core.events import (
    DrainRequested,
    Event,
    Exited,
    ExitKind,
    ExitReason,
    Ready,
    Tick,
)
from supervisor.core.spec import (
    AutoShutdown,
    Backoff,
    NodeSpec,
    Restart,
    SegmentSpec,
    Strategy,
    SupervisorSpec,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"


def scenarios_of(name: str) -> list[dict[str, Any]]:
    """What OTP was asked, and what it answered."""
    kept: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return kept


# OTP restarts at once and counts only by time; a healthy run of any length clears our row counter.
AT_ONCE = Backoff(first_s=0.0, factor=1.0, max_s=0.0, jitter=0.0, reset_after_s=1e-6)
REASONS = {
    "normal": ExitReason(ExitKind.COMPLETED),
    "shutdown": ExitReason(ExitKind.STOPPED),
    "crash": ExitReason(ExitKind.ERROR, "Crash: asked for"),
}


def spec_of(tree: dict[str, Any]) -> NodeSpec:
    """The golden tree as our specs."""
    if "children" not in tree:
        return SegmentSpec(
            tree["id"],
            restart=Restart(tree["restart"]),
            backoff=AT_ONCE,
            significant=tree.get("significant", False),
        )
    return SupervisorSpec(
        tree["id"],
        children=tuple(spec_of(child) for child in tree["children"]),
        strategy=Strategy(tree["strategy"]),
        max_restarts=tree["intensity"],
        max_seconds=3600.0,
        restart=Restart(tree["restart"]),
        backoff=AT_ONCE,
        auto_shutdown=AutoShutdown(tree.get("auto_shutdown", "never")),
        significant=tree.get("significant", False),
    )


def failing_of(tree: dict[str, Any]) -> dict[str, list[int]]:
    """Worker -> the start attempts that fail."""
    if "children" not in tree:
        return {tree["id"]: tree["failing"]}
    return {key: value for child in tree["children"] for key, value in failing_of(child).items()}


class World:
    """Bodies that obey at once, and a trace in the oracle's words."""

    def __init__(self, tree: dict[str, Any]) -> None:
        top = spec_of(tree)
        assert isinstance(top, SupervisorSpec)
        # OTP's top supervisor ends when it gives up; under a bulkhead ours does the same.
        bulkhead = replace(top, restart=Restart.TEMPORARY)
        self.failing = failing_of(tree)
        self.trace: list[str] = []
        self.alive: dict[str, tuple[str, int]] = {}
        self.now_s = 0.0
        first = boot(SupervisorSpec("root", (bulkhead,)), self.now_s)
        self.tree = first.tree
        self.settle(first)

    def tell(self, event: Event) -> None:
        """One event and everything that follows from it."""
        self.now_s += 0.001
        self.settle(step(self.tree, event, self.now_s))

    def settle(self, first: Step) -> None:
        """Obey orders until there are none."""
        orders: deque[Action] = deque(first.actions)
        while orders:
            news = self.obey(orders.popleft())
            for event in (*news, Tick()):
                self.now_s += 0.001
                orders.extend(step(self.tree, event, self.now_s).actions)

    def obey(self, order: Action) -> list[Event]:
        """What a body does when it is started or stopped."""
        if isinstance(order, Start):
            name = order.path.rsplit("/", 1)[-1]
            if order.incarnation in self.failing[name]:
                self.trace.append(f"failed {name} {order.incarnation}")
                return [Exited(order.path, order.incarnation, REASONS["crash"])]
            self.trace.append(f"start {name} {order.incarnation}")
            self.alive[name] = (order.path, order.incarnation)
            return [Ready(order.path, order.incarnation)]
        if isinstance(order, Stop | Kill):
            name = order.path.rsplit("/", 1)[-1]
            assert self.alive.pop(name) == (order.path, order.incarnation)
            self.trace.append(f"stop {name} {order.incarnation}")
            return [Exited(order.path, order.incarnation, ExitReason(ExitKind.STOPPED))]
        return []

    def die(self, name: str, reason: str) -> None:
        """A worker ends by itself, if it is there."""
        if name in self.alive:
            path, incarnation = self.alive.pop(name)
            self.trace.append(f"died {name} {incarnation}")
            self.tell(Exited(path, incarnation, REASONS[reason]))

    def take_trace(self) -> list[str]:
        """What happened since the last call."""
        trace, self.trace = self.trace, []
        return trace


@pytest.mark.parametrize(
    "scenario", scenarios_of("otp.json"), ids=lambda one: str(one["name"]).replace(" ", "-")
)
def test_core_does_what_otp_did(scenario: dict[str, Any]) -> None:
    """Every start, stop and death in the same order as on OTP 25, and the same survivors."""
    replay(scenario)


@pytest.mark.parametrize(
    "scenario",
    scenarios_of("otp_significant.json"),
    ids=lambda one: str(one["name"]).replace(" ", "-"),
)
def test_core_shuts_down_when_otp_did(scenario: dict[str, Any]) -> None:
    """The same with significant children, and supervisors that end with them (11.1 to 11.4)."""
    replay(scenario)


def replay(scenario: dict[str, Any]) -> None:
    """Let the same children die in the same order, and compare all that follows."""
    world = World(scenario["tree"])
    trace = [world.take_trace()]
    for death in scenario["deaths"]:
        world.die(death["id"], death["reason"])
        trace.append(world.take_trace())
    survivors = sorted(world.alive)
    world.tell(DrainRequested())
    trace.append(world.take_trace())
    assert trace == scenario["trace"]
    assert survivors == scenario["alive"]
