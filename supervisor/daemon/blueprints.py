"""Where the specs of a running pipeline come from, and where the next daemon finds them.

A changed spec holds secrets, so it comes as a memory file through the doorbell, named by a key that
the request in the store carries; and it goes into the parcel, which the heart hands to every life
of the daemon. The store holds only which of the parcel's specs is the one.
Read next: `parcel.py`, `wakeup.py`, `runtime/ports.py` (`Blueprints`).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from supervisor.core.codec import decode_spec, encode_spec
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.core.templates import scaled
from supervisor.daemon.parcel import Parcel, add
from supervisor.errors import NoSuchField, SpecLost
from supervisor.runtime.ports import Json, PendingRequest

PATIENCE_S = 1.0
"""How long a spec may be on its way when its request is here already."""
_MOST_WAITING = 16


class DaemonBlueprints:
    """`ports.Blueprints` of one daemon.

    Args:
        parcel: as it is; what is kept goes behind it.
        descriptor: of the parcel's memory file.
        resolve: gives every segment its port numbers.
        facts: what else the store should know about a spec.
    """

    def __init__(
        self,
        parcel: Parcel,
        descriptor: int,
        *,
        resolve: Callable[[SupervisorSpec], Mapping[Path, SegmentSpec]],
        facts: Callable[[SupervisorSpec], Json],
    ) -> None:
        self._parcel = parcel
        self._descriptor = descriptor
        self._resolve = resolve
        self._facts = facts
        self._generation = parcel.generation
        self._arrived: dict[str, dict[str, Any]] = {}
        self._arrival = threading.Condition()

    def receive(self, key: str, descriptor: int) -> None:
        """Take what came through the doorbell; from its thread."""
        size = os.fstat(descriptor).st_size
        content = json.loads(os.pread(descriptor, size, 0))
        with self._arrival:
            while len(self._arrived) >= _MOST_WAITING:  # whoever sent those never asked
                del self._arrived[next(iter(self._arrived))]
            self._arrived[key] = content
            self._arrival.notify_all()

    def wanted(self, request: PendingRequest, declared: SupervisorSpec) -> SupervisorSpec:
        """Return the spec that a request asks for."""
        if request.verb == "scale":
            return scaled(declared, request.path, int(request.args["count"]))
        content = self._content(str(request.args.get("parcel", "")))
        spec = decode_spec(content["spec"]) if "spec" in content else declared
        for path, fields in content.get("set", {}).items():
            assert isinstance(spec, SupervisorSpec)
            spec = with_fields(spec, path, fields)
        assert isinstance(spec, SupervisorSpec), "a pipeline is a supervisor"
        return spec

    def segments(self, standing: SupervisorSpec) -> Mapping[Path, SegmentSpec]:
        """Return every segment with its ports resolved to numbers."""
        return self._resolve(standing)

    def keep(self, declared: SupervisorSpec, standing: SupervisorSpec) -> Json:
        """Add the specs to the parcel."""
        self._generation += 1
        add(self._descriptor, self._parcel, declared, standing, self._generation)
        return {**self._facts(declared), "generation": self._generation}

    def _content(self, key: str) -> dict[str, Any]:
        with self._arrival:
            if not self._arrival.wait_for(lambda: key in self._arrived, PATIENCE_S):
                raise SpecLost("what was to be changed did not arrive; ask again")
            return self._arrived.pop(key)


def with_fields(spec: SupervisorSpec, path: Path, fields: Mapping[str, Any]) -> SupervisorSpec:
    """Return the tree with some fields of one node set.

    Args:
        spec: the whole tree.
        path: the node's full path.
        fields: dotted name -> value, as `encode_spec` writes it.

    Raises:
        NoSuchField: the tree has no such node or field.

    >>> tree = SupervisorSpec("p", (SegmentSpec("a"),))
    >>> with_fields(tree, "p/a", {"quota.memory_bytes": 5}).children[0].quota.memory_bytes
    5
    """
    data = deepcopy(encode_spec(spec))
    node: dict[str, Any] | None = data
    for name in path.split("/")[1:]:
        below = (node or {}).get("children", ())
        node = next((child for child in below if child["name"] == name), None)
    if node is None:
        raise NoSuchField(f"{spec.name} has no node {path}")
    for dotted, value in fields.items():
        *parents, last = dotted.split(".")
        part: Any = node
        for name in parents:
            part = part.get(name) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            raise NoSuchField(f"{path} has no field {dotted}")
        part[last] = value
    changed = decode_spec(data)
    assert isinstance(changed, SupervisorSpec)
    return changed
