"""What one step has changed so far: new states, orders, and who must look at them next.

Decides nothing; the only place that replaces a node's state. It keeps what was there before, so
that a step that could not be saved is undone exactly, and so that a snapshot costs what changed
and not what exists. Read next: `couplings.py` (who works on a draft), `machine.py` (who makes one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from supervisor.core.actions import Action, Report, ReportCode
from supervisor.core.spec import Path
from supervisor.core.state import (
    NodeState,
    Phase,
    SegmentState,
    SupervisorPhase,
    SupervisorState,
)
from supervisor.core.tree import Node, Segment, Supervisor, Tree


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: save it, then act on it.

    Args:
        tree: the tree, already changed.
        actions: orders in the order in which they were decided.
        changed: paths whose state is new; what the snapshot must write.
        before: their states before the step, for `rollback`.
        previous: the tree before the step, when the step has put another one in its place.
    """

    tree: Tree
    actions: tuple[Action, ...]
    changed: tuple[Path, ...]
    before: Mapping[Path, NodeState]
    previous: Tree | None = None


class Draft:
    """The step that is being made.

    Args:
        tree: changed in place.
        now_s: the only time this step knows.
    """

    __slots__ = ("actions", "before", "now_s", "tree", "unsettled")

    def __init__(self, tree: Tree, now_s: float) -> None:
        self.tree = tree
        self.now_s = now_s
        self.actions: list[Action] = []
        self.before: dict[Path, NodeState] = {}
        # A dict, for its order and because nobody needs to look twice at the same changes.
        self.unsettled: dict[Supervisor, None] = {}

    def put(self, segment: Segment, state: SegmentState) -> None:
        """Give a segment its new state; its supervisor will look at it."""
        self.before.setdefault(segment.path, segment.state)
        segment.state = state
        self.tree.expect(segment)
        self.unsettled[segment.parent] = None

    def put_phase(self, segment: Segment, phase: Phase) -> None:
        """Give a segment its new phase and leave the rest of its state as it is."""
        self.put(segment, replace(segment.state, phase=phase))

    def put_supervisor(self, supervisor: Supervisor, state: SupervisorState) -> None:
        """Give a supervisor its new state; it and its parent will look at it."""
        before = supervisor.state
        self.before.setdefault(supervisor.path, before)
        supervisor.state = state
        self.tree.expect(supervisor)
        self.unsettled[supervisor] = None
        # A cursor that moves on within its phase is nobody else's business.
        is_news = type(before.phase) is not type(state.phase) or before.wanted is not state.wanted
        if is_news and supervisor.parent is not None:
            self.unsettled[supervisor.parent] = None

    def put_supervisor_phase(self, supervisor: Supervisor, phase: SupervisorPhase) -> None:
        """Give a supervisor its new phase and leave the rest of its state as it is."""
        state = supervisor.state
        # Spelled out, because every step of a group comes here and `replace` takes its time.
        self.put_supervisor(
            supervisor,
            SupervisorState(
                phase,
                state.incarnation,
                state.wanted,
                state.streak,
                state.restarts,
                state.restart_count,
                state.failed,
                state.last_exit,
                state.storm,
            ),
        )

    def report(self, code: ReportCode, node: Node, text: str) -> None:
        """Record something that a person may want to know."""
        self.actions.append(Report(code, node.path, text))

    def finish(self) -> Step:
        """Return the finished step."""
        return Step(self.tree, tuple(self.actions), tuple(self.before), self.before)
