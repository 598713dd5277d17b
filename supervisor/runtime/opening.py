"""How a driver comes to its tree: a new launch, or the one that a dead daemon left behind.

Both make sure first that nothing lives which the tree does not know: at most one life of a segment,
ever. Read next: `driver.py` (what is opened), `daemon/service.py` (who decides which of the two).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from supervisor.core import Tree, boot, outstanding, restore
from supervisor.core.codec import encode_spec, encode_state
from supervisor.core.spec import SupervisorSpec
from supervisor.core.tree import Segment
from supervisor.runtime.driver import Driver, Outside, living
from supervisor.runtime.ports import Json, NodeRow


def open_new(spec: SupervisorSpec, info: Json, outside: Outside) -> Driver:
    """Begin a new launch: what an earlier one left behind goes, the numbers of lives go on.

    Args:
        spec: the pipeline, ports resolved.
        info: facts about this launch for the store.
        outside: what the driver works with.
    """
    store, executor = outside.store, outside.executor
    executor.backend.listen(outside.inbox.receive)
    executor.backend.sweep({})
    now_s = outside.clock.now_s()
    numbers = {path: store.last_incarnation(path) for path in executor.segments}
    first = boot(spec, now_s, numbers)
    store.create(list(_rows(first.tree)), info, now_s)
    executor.prepare()
    driver = Driver(first.tree, outside)
    driver.issue(first.actions)
    return driver


def reopen(spec: SupervisorSpec, outside: Outside) -> Driver:
    """Go on where a dead daemon stopped: who lives is adopted, what was in flight is repeated."""
    backend = outside.executor.backend
    backend.listen(outside.inbox.receive)
    tree = restore(spec, outside.store.load_states())
    backend.sweep(living(tree))
    driver = Driver(tree, outside)
    driver.issue(outstanding(tree))
    return driver


def _rows(tree: Tree) -> Iterator[NodeRow]:
    """Yield every node as `show` may print it: parents first, no values of the environment."""
    for node in tree.nodes.values():
        if isinstance(node, Segment):
            kind, shown = node.spec.kind.value, encode_spec(node.spec, secrets=False)
        else:
            kind, shown = "supervisor", encode_spec(replace(node.spec, children=()), secrets=False)
            del shown["children"]  # they have rows of their own
        parent = node.parent.path if node.parent is not None else ""
        yield NodeRow(node.path, parent, kind, node.position, shown, encode_state(node.state))
