"""The simulated world, with a person who changes the pipeline while it runs."""

from __future__ import annotations

import json
from typing import Any

from simulated_world import World

from supervisor.core import Step, next_deadline, outstanding, reconfigure, restore, rollback, step
from supervisor.core.actions import Action, Answer
from supervisor.core.codec import encode_state
from supervisor.core.describe import describe_action
from supervisor.core.events import Event, Exited, Tick
from supervisor.core.invariants import violations
from supervisor.core.spec import Path, SupervisorSpec
from supervisor.core.tree import Segment


class ChangingWorld(World):
    """`World`, in which a step may put another tree in the place of the one that there was."""

    def tell(self, event: Event, *, dies_before_acting: bool = False) -> Step:
        """Decide, save and act, on whatever tree there is afterwards."""
        return self._take(step(self.tree, event, self.now_s), dies_before_acting=dies_before_acting)

    def change(self, spec: SupervisorSpec, *, dies_before_acting: bool = False) -> Step:
        """A person applies another spec."""
        numbers: dict[Path, int] = {}
        for path, number in self.seen:
            numbers[path] = max(number, numbers.get(path, 0))
        made = reconfigure(self.tree, spec, self.now_s, incarnations=numbers, request=9)
        self.spec = spec
        return self._take(made, dies_before_acting=dies_before_acting)

    def change_in_vain(self, spec: SupervisorSpec) -> None:
        """A person applies another spec, and it cannot be saved."""
        states, deadline_s = self.all_states(), next_deadline(self.tree)
        made = reconfigure(self.tree, spec, self.now_s)
        assert rollback(made.tree, made) is self.tree
        assert self.all_states() == states
        assert next_deadline(self.tree) == deadline_s

    def save(self, made: Step) -> None:
        """Write what changed, and forget the nodes that have left."""
        self.tree = made.tree
        super().save(made)
        self.saved = {path: self.saved[path] for path in made.tree.nodes}
        self.news = [event for event in self.news if event.path in made.tree.nodes]
        self.old_news = [event for event in self.old_news if event.path in made.tree.nodes]

    def restart_daemon(self, lost: tuple[Action, ...] = ()) -> None:
        """A new process knows what stood in the tree, what was declared, and the snapshot."""
        assert self.all_states() == self.saved
        self.answers += [one for one in lost if isinstance(one, Answer)]
        standing = self.tree.root.spec
        self.tree = restore(standing, self.saved, declared=self.tree.declared, strict=True)
        assert not (found := violations(self.tree)), found
        keep = {
            node.path: node.state.incarnation
            for node in self.tree.nodes.values()
            if isinstance(node, Segment) and node.lives
        }
        strays = {path for path, number in self.bodies.items() if keep.get(path) != number}
        in_flight = {event.path for event in self.news if isinstance(event, Exited)}
        assert strays <= in_flight, f"bodies that the core forgot: {strays - in_flight}"
        self.act(outstanding(self.tree))
        if self.tree.is_changing:
            self.tell(Tick())  # what was left of the change may be done by now

    def _take(self, made: Step, *, dies_before_acting: bool) -> Step:
        self.save(made)
        assert not (found := violations(self.tree)), found
        if dies_before_acting:
            self.restart_daemon(made.actions)
        else:
            self.act(made.actions)
        return made


def stored(world: World) -> dict[Path, Any]:
    """Return every state as it would come back from a file."""
    return {
        path: json.loads(json.dumps(encode_state(state)))
        for path, state in world.tree.states.items()
    }


def told(made: Step) -> list[str]:
    """Return the orders of a step in words."""
    words = [describe_action(action) for action in made.actions]
    return [word for word in words if not word.startswith(("report", "release"))]
