"""How a driver comes to its tree: a new launch, or the one that a dead daemon left behind.

Both make sure first that nothing lives which the tree does not know: at most one life of a segment,
ever. Read next: `driver.py` (what is opened), `daemon/service.py` (who decides which of the two).
"""

from __future__ import annotations

from supervisor.core import Tree, boot, outstanding, restore
from supervisor.core.spec import SupervisorSpec
from supervisor.runtime.driver import Driver, Outside, living
from supervisor.runtime.ports import Json
from supervisor.runtime.recording import node_rows


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
    store.create(list(node_rows(first.tree, outside.fingerprint)), info, now_s)
    executor.prepare()
    driver = Driver(first.tree, outside)
    driver.issue(first.actions)
    return driver


def reopen(
    spec: SupervisorSpec, outside: Outside, standing: SupervisorSpec | None = None
) -> Driver:
    """Go on where a dead daemon stopped: who lives is adopted, what was in flight is repeated.

    Args:
        spec: the pipeline, as it was declared last.
        outside: what the driver works with.
        standing: that, with the nodes that were leaving it; None when nobody was.
    """
    backend = outside.executor.backend
    backend.listen(outside.inbox.receive)
    states = outside.store.load_states()
    if standing is not None and states.keys() == Tree(standing).nodes.keys():
        tree = restore(standing, states, declared=spec)
    else:
        tree = restore(spec, states)
    backend.sweep(living(tree))
    driver = Driver(tree, outside)
    driver.issue(outstanding(tree))
    return driver
