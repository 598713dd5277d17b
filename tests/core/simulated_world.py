"""Everything outside the core, played by one class: bodies, their news, the store, our own crashes.

It is stricter than the real world: it refuses an order that no correct core can give. The driver's
loop is here in four lines (decide, save, act, listen), with the two places where it can die.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.core import Step, Tree, boot, next_deadline, outstanding, restore, rollback, step
from supervisor.core.actions import Action, Adopt, Answer, Halt, Kill, Release, Start, Stop
from supervisor.core.codec import decode_event, encode_event, encode_state
from supervisor.core.describe import describe_action
from supervisor.core.events import (
    Event,
    Exited,
    ExitKind,
    ExitReason,
    LifeEvent,
    Ready,
    Started,
    Tick,
)
from supervisor.core.invariants import violations
from supervisor.core.spec import Kind, Path, SupervisorSpec
from supervisor.core.tree import Segment

COMPLETED = ExitReason(ExitKind.COMPLETED)
STOPPED = ExitReason(ExitKind.STOPPED)
CRASH = ExitReason(ExitKind.ERROR, "ValueError: no")
NODE_LOST = ExitReason(ExitKind.NODE_LOST)

Life = tuple[Path, int]


class World:
    """One pipeline and all that surrounds it.

    Args:
        spec: the pipeline.
        incarnations: numbers used by earlier launches.
    """

    def __init__(
        self, spec: SupervisorSpec, incarnations: Mapping[Path, int] | None = None
    ) -> None:
        self.spec = spec
        self.now_s = 0.0
        self.bodies: dict[Path, int] = {}
        self.ready: set[Life] = set()
        self.dead: dict[Life, ExitReason] = {}
        self.seen: set[Life] = set()
        self.news: list[LifeEvent] = []
        self.old_news: list[LifeEvent] = []
        self.history: list[tuple[Event | None, float]] = [(None, 0.0)]
        self.trace: list[str] = []
        self.answers: list[Answer] = []
        self.halted: Halt | None = None
        first = boot(spec, self.now_s, incarnations or {}, strict=True)
        self.tree: Tree = first.tree
        self.saved: dict[Path, dict[str, Any]] = {}
        self.save(first)
        self.act(first.actions)

    # ---------------------------------------------------------------------------- the driver's loop

    def tell(self, event: Event, *, dies_before_acting: bool = False) -> Step:
        """Decide, save and act; or decide, save, die, and do what the next process does."""
        made = step(self.tree, event, self.now_s)
        self.history.append((event, self.now_s))
        assert violations(self.tree) == []
        self.save(made)
        if dies_before_acting:
            self.restart_daemon(made.actions)
        else:
            self.act(made.actions)
        return made

    def save(self, made: Step) -> None:
        """Write what changed, and only that; what is restored later must not need more."""
        for path in made.changed:
            self.saved[path] = json.loads(json.dumps(encode_state(self.tree.states[path])))

    def restart_daemon(self, lost: tuple[Action, ...] = ()) -> None:
        """A new process reads the snapshot and takes up what was in flight."""
        assert self.all_states() == self.saved
        # Answers and Halt are saved with the step that made them; only orders can be lost.
        self.answers += [one for one in lost if isinstance(one, Answer)]
        self.tree = restore(self.spec, self.saved, strict=True)
        assert violations(self.tree) == []
        keep = {
            node.path: node.state.incarnation
            for node in self.tree.nodes.values()
            if isinstance(node, Segment) and node.lives
        }
        strays = {path for path, number in self.bodies.items() if keep.get(path) != number}
        in_flight = {event.path for event in self.news if isinstance(event, Exited)}
        assert strays <= in_flight, f"bodies that the core forgot: {strays - in_flight}"
        self.act(outstanding(self.tree))

    def try_in_vain(self, event: Event) -> None:
        """Decide, fail to save, take it back: nothing may be left of it."""
        states, deadline_s = self.all_states(), next_deadline(self.tree)
        made = step(self.tree, event, self.now_s)
        described = [describe_action(action) for action in made.actions]
        rollback(self.tree, made)
        assert self.all_states() == states
        assert next_deadline(self.tree) == deadline_s
        again = step(self.tree, event, self.now_s)
        assert [describe_action(action) for action in again.actions] == described
        rollback(self.tree, again)

    def all_states(self) -> dict[Path, dict[str, Any]]:
        """Every state as it reads after a trip through JSON."""
        return {
            path: json.loads(json.dumps(encode_state(state)))
            for path, state in self.tree.states.items()
        }

    # --------------------------------------------------------------------------------------- orders

    def act(self, orders: tuple[Action, ...]) -> None:
        """Carry out orders, and refuse what no correct core orders."""
        for order in orders:
            self.trace.append(describe_action(order))
            match order:
                case Start(path, incarnation):
                    self._start(path, incarnation)
                case Adopt(path, incarnation):
                    self._adopt((path, incarnation))
                case Stop(path, incarnation) | Kill(path, incarnation):
                    life = (path, incarnation)
                    assert life in self.seen, f"{describe_action(order)}: was never started"
                    assert self._is_news_missing(life), f"{describe_action(order)}: is not alive"
                case Release(path, _):
                    assert path not in self.bodies, f"{describe_action(order)}: it lives"
                case Answer():
                    self.answers.append(order)
                case Halt():
                    assert not self.bodies, f"halt, but these live: {self.bodies}"
                    self.halted = order
                case _:
                    pass

    def _start(self, path: Path, incarnation: int) -> None:
        life = (path, incarnation)
        if life in self.seen:
            self._adopt(life)  # the order is repeated after a crash of ours
            return
        assert path not in self.bodies, f"second life of {path}: {self.bodies[path]}, {incarnation}"
        assert all(number < incarnation for known, number in self.seen if known == path)
        self.seen.add(life)
        self.bodies[path] = incarnation
        self.news.append(Started(path, incarnation, pid=1))

    def _adopt(self, life: Life) -> None:
        """Tell again what happened in that life."""
        path, incarnation = life
        if self.bodies.get(path) != incarnation:
            self.news.append(Exited(path, incarnation, self.dead.get(life, NODE_LOST)))
            return
        self.news.append(Started(path, incarnation, pid=1))
        if life in self.ready:
            self.news.append(Ready(path, incarnation))

    def _is_news_missing(self, life: Life) -> bool:
        """Has the core not heard of this life's end?"""
        return self.bodies.get(life[0]) == life[1] or any(
            isinstance(event, Exited) and (event.path, event.incarnation) == life
            for event in self.news
        )

    # --------------------------------------------------------------------------------------- bodies

    def becomes_ready(self, path: Path) -> None:
        """The body of that path does its work from now on."""
        incarnation = self.bodies[path]
        self.ready.add((path, incarnation))
        self.news.append(Ready(path, incarnation))

    def dies(self, path: Path, reason: ExitReason) -> None:
        """No process of that body is left."""
        incarnation = self.bodies.pop(path)
        self.dead[path, incarnation] = reason
        self.news.append(Exited(path, incarnation, reason))

    def deliver(self, index: int, *, dies_before_acting: bool = False) -> Step:
        """Deliver one piece of news; of one path the oldest, whichever was picked."""
        path = self.news[index].path
        oldest = next(event for event in self.news if event.path == path)
        self.news.remove(oldest)
        self.old_news.append(oldest)
        return self.tell(oldest, dies_before_acting=dies_before_acting)

    def deliver_all(self) -> None:
        """Deliver everything in flight, oldest first."""
        while self.news:
            self.deliver(0)

    # ------------------------------------------------------------------------------ whole stretches

    def calm_down(
        self,
        *,
        fulfil: Callable[[Segment], bool] = lambda _: True,
        until_s: float = float("inf"),
    ) -> None:
        """From now on every body does what is expected of it; go on until nothing is left to do.

        Args:
            fulfil: which running tasks complete when they are asked.
            until_s: leave deadlines after this time alone.
        """
        for _ in range(60 * len(self.tree.nodes) + 60):
            self.deliver_all()
            if self._one_thing_as_expected(fulfil):
                continue
            deadline_s = next_deadline(self.tree)
            if deadline_s is None or deadline_s > until_s:
                return
            self.now_s = max(self.now_s, deadline_s)
            self.tell(Tick())
        raise AssertionError(f"never comes to rest:\n{self.trace[-20:]}")

    def _one_thing_as_expected(self, fulfil: Callable[[Segment], bool]) -> bool:
        """Let one body become ready, finish or obey; False when all are where they should be."""
        for path in list(self.bodies):
            node = self.tree.nodes[path]
            assert isinstance(node, Segment)
            phase = type(node.state.phase).__name__
            if phase == "Starting":
                self.becomes_ready(path)
            elif phase in {"Stopping", "Killing"}:
                self.dies(path, STOPPED)
            elif phase == "Running" and node.spec.kind is Kind.TASK and fulfil(node):
                self.dies(path, COMPLETED)
            else:
                continue
            return True
        return False

    def replay(self) -> Tree:
        """Do everything that happened again, from the journal's JSON, in one process."""
        tree = boot(self.spec, 0.0, strict=True).tree
        for event, now_s in self.history[1:]:
            assert event is not None
            step(tree, decode_event(json.loads(json.dumps(encode_event(event)))), now_s)
        return tree
