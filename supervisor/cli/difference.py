"""What a spec would change in what runs, from the store alone, and how a person reads it.

The comparison is the core's own, over specs in which every value of the environment is replaced by
its fingerprint: the store has no values, and a changed one must show all the same. Asks no daemon.
Read next: `core/changes.py` (what is compared), `daemon/fingerprint.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from supervisor.cli.home import Home
from supervisor.cli.store_reader import NodeRow, StoreReader
from supervisor.cli.stored_tree import spec_of_rows
from supervisor.core.changes import LIVE_QUOTAS, Change, Effect, FieldChange, compare
from supervisor.core.codec import decode_state
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.core.templates import scaled
from supervisor.daemon.blueprints import with_fields
from supervisor.daemon.fingerprint import HomeFingerprint

_EFFECTS: Mapping[Effect, str] = {
    Effect.NOTHING: "nothing happens",
    Effect.NEXT: "from its next life on",
    Effect.LIVE: "at once, no restart",
    Effect.RESTART: "restarts this segment",
    Effect.START: "starts in its place",
    Effect.STOP: "stops and leaves",
}


SCHEMA_VERSION = 1


class Difference(NamedTuple):
    """What a change would do.

    Args:
        pipeline: its name.
        state: of the pipeline: "up", "down" or "failed"; "" when it was never launched.
        changes: see `core.changes.compare`.
    """

    pipeline: str
    state: str
    changes: Sequence[Change]

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON form; see docs/json.md."""
        return {
            "schema_version": SCHEMA_VERSION,
            "pipeline": self.pipeline,
            "state": self.state or None,
            "changes": [
                {
                    "path": change.path,
                    "sign": change.sign,
                    "effect": change.effect.value,
                    "fields": [
                        {"name": one.name, "old": one.old, "new": one.new, "effect": one.effect}
                        for one in change.fields
                    ],
                }
                for change in self.changes
            ],
        }


def difference(home: Home, reader: StoreReader, spec: SupervisorSpec) -> Difference:
    """Compare a spec with what the store says of the pipeline of that name."""
    row = next((one for one in reader.pipelines() if one.name == spec.name), None)
    nodes = reader.nodes(spec.name) if row is not None else []
    if row is None or not nodes:
        nothing = replace(spec, children=())
        return Difference(spec.name, "", compare(nothing, spec))
    stored = _stored(nodes)
    shown = _with_fingerprints(spec, HomeFingerprint(home.root))
    return Difference(spec.name, row.state, _compared(nodes, stored, shown, row.info))


def with_applied_fields(
    home: Home, reader: StoreReader, path: Path, fields: Mapping[str, Any]
) -> Difference:
    """Compare what runs with itself, some fields of one node set."""
    row = reader.pipeline(path.partition("/")[0])
    nodes = reader.nodes(row.name)
    stored = _stored(nodes)
    fingerprint = HomeFingerprint(home.root)
    hidden = {
        name: fingerprint(path, name.removeprefix("body.env."), value)
        if name.startswith("body.env.")
        else value
        for name, value in fields.items()
    }
    changed = with_fields(stored, path, hidden)
    return Difference(row.name, row.state, _compared(nodes, stored, changed, row.info))


def with_count(reader: StoreReader, path: Path, count: int) -> Difference:
    """Compare what runs with itself, with another number of instances of one template.

    Raises:
        NotATemplate, TooManyChildren: as the daemon would say.
    """
    row = reader.pipeline(path.partition("/")[0])
    nodes = reader.nodes(row.name)
    stored = _stored(nodes)
    changed = scaled(stored, path, count)
    return Difference(row.name, row.state, _compared(nodes, stored, changed, row.info))


def _compared(
    nodes: Sequence[NodeRow], old: SupervisorSpec, new: SupervisorSpec, info: Mapping[str, Any]
) -> Sequence[Change]:
    states = {node.path: decode_state(node.state) for node in nodes}
    by_kernel = str(info.get("enforcement_mode", "")).startswith("cgroup")
    return compare(old, new, states, LIVE_QUOTAS if by_kernel else frozenset())


def _stored(nodes: Sequence[NodeRow]) -> SupervisorSpec:
    """Return the tree that runs, with fingerprints for the values of its environment."""
    prints = {node.path: node.spec.get("env_fingerprints", {}) for node in nodes}
    return _with_env(spec_of_rows(nodes), "", lambda path, _: prints[path])


def _with_fingerprints(spec: SupervisorSpec, fingerprint: HomeFingerprint) -> SupervisorSpec:
    def env(path: Path, segment: SegmentSpec) -> Mapping[str, str]:
        return {name: fingerprint(path, name, value) for name, value in segment.body.env.items()}

    return _with_env(spec, "", env)


def _with_env(spec: SupervisorSpec, above: Path, env: Any) -> SupervisorSpec:
    """Return the tree with another environment for every segment."""
    path = f"{above}{spec.name}"
    children: list[SegmentSpec | SupervisorSpec] = []
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            below = _with_env(child, f"{path}/", env)
            if below.template is not None:  # its own values are those of its instances
                bare = replace(below.template, body=replace(below.template.body, env={}))
                below = replace(below, template=bare)
            children.append(below)
        else:
            given = env(f"{path}/{child.name}", child)
            children.append(replace(child, body=replace(child.body, env=given)))
    return replace(spec, children=tuple(children))


# ----------------------------------------------------------------------------------------- lines


def lines(found: Difference) -> Iterator[str]:
    """Yield what a person reads: one line per node, one per field below it."""
    if found.state == "down":
        yield f"{found.pipeline} is down; this is against its last launch"
    if not found.changes:
        yield f"{found.pipeline}: nothing is different"
    for change in found.changes:
        yield f"{change.sign} {change.path}  {_EFFECTS[change.effect]}"
        for field in change.fields:
            yield f"    {_field(field)}"


def _field(field: FieldChange) -> str:
    """Return one field in words.

    >>> _field(FieldChange("quota.processes", 4, 8, Effect.LIVE))
    'quota.processes: 4 -> 8 (at once, no restart)'
    """
    if field.name.startswith("body.env."):
        return f"{field.name} changed ({_EFFECTS[field.effect]})"
    return f"{field.name}: {_value(field.old)} -> {_value(field.new)} ({_EFFECTS[field.effect]})"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple | frozenset) else str(value)
