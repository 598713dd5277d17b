"""Puts the stored rows of a pipeline together again as the core's own tree of specs.

Decides nothing and reads nothing: rows in, values out. Values of `env` are not in the store, so
they are not in these specs either: good for asking the core, not for starting a body.
Read next: `explain.py` (who asks), `core/codec.py` (what a row holds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from supervisor.cli.store_reader import NodeRow
from supervisor.core.codec import decode_spec
from supervisor.core.spec import NodeSpec, SegmentSpec, SupervisorSpec


def spec_of_rows(rows: Sequence[NodeRow]) -> SupervisorSpec:
    """Return the tree that a daemon wrote: parents before children, siblings in start order."""
    below: dict[str, list[NodeSpec]] = {row.path: [] for row in rows}
    made: NodeSpec | None = None
    for row in reversed(rows):
        made = decode_spec(row.spec)
        if isinstance(made, SupervisorSpec):
            made = replace(made, children=tuple(reversed(below[row.path])))
        if row.parent:
            below[row.parent].append(made)
    assert made is not None
    assert not isinstance(made, SegmentSpec)
    return made
