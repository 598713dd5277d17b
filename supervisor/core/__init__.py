"""The pure core: what to do about what happened. Standard library only; no clock, no I/O.

Read `machine.py` first, then `transitions.py`; docs/semantics.md is the contract in prose.
"""

from supervisor.core.draft import Step
from supervisor.core.machine import boot, next_deadline, outstanding, restore, rollback, step
from supervisor.core.reconfigure import reconfigure
from supervisor.core.tree import Tree

__all__ = [
    "Step",
    "Tree",
    "boot",
    "next_deadline",
    "outstanding",
    "reconfigure",
    "restore",
    "rollback",
    "step",
]
