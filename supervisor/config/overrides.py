"""What `--set path.key=value` changes, as if the person had edited the file.

Decides which node and key an override means, and lays its value over the file's tree before
anything is validated, so that it is held to the same rules and wins over a policy. Its problems are
located at the option itself. The value is taken as it stands: `${VAR}` in it is text, because the
shell had its turn already.
Read next: `names.py` (which node a path means), `build.py` (what happens to the changed tree).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from supervisor.config.document import Entry, Items, Node, Scalar, Table
from supervisor.config.keys import ROOT, SEGMENT, SUPERVISOR
from supervisor.config.names import Names, UnclearNameError, is_supervisor, names_of
from supervisor.config.problems import Findings, Mark, closest, listed, shown
from supervisor.config.records import Record
from supervisor.config.scalars import AmbiguousError, plain_value
from supervisor.config.shapes import INVALID, Reading, Shape, ticked
from supervisor.config.strict_yaml import parse_value


def apply_overrides(root: Table, overrides: Iterable[str], reading: Reading) -> Table:
    """Return the file's tree with every override laid over it, in their order.

    Args:
        root: the top level of the pipeline file.
        overrides: texts such as `train.quota.memory=3GiB` or `max_restarts=3`.
        reading: where problems go.
    """
    for override in overrides:
        root = _applied(root, override, reading)
    return root


def _applied(root: Table, override: str, reading: Reading) -> Table:
    target, equals, value_text = override.partition("=")
    mark = Mark(f"--set {target}")  # without the value, which may be a secret
    if not equals or not all(target.split(".")):
        reading.error(mark, "", "not an override", allowed="`path.key=value`")
        return root
    names = names_of(root, _root_name(root, reading))
    found = _find(target.split("."), names, mark, reading)
    if found is None:
        return root
    path, keys = found
    record = _record_of(path, names)
    old = _old_value(names.nodes[path], keys)
    value = _value(value_text, mark, reading, as_text=keys[0] == "params" and _is_text(old))
    if value is None:
        return root
    changed = _with_value(names.nodes[path], keys, Entry(mark, value), record, reading)
    return root if changed is None else _replaced(root, path.split("/")[1:], changed)


def _root_name(root: Table, reading: Reading) -> str:
    name = root.value("pipeline")
    text = reading.text(name, "pipeline") if isinstance(name, Scalar) else INVALID
    return "" if text is INVALID else str(text)


def _record_of(path: str, names: Names) -> Record:
    if path == names.root:
        return ROOT
    return SUPERVISOR if is_supervisor(names.nodes[path]) else SEGMENT


# --------------------------------------------------------------------------------------- targets


def _find(
    parts: list[str], names: Names, mark: Mark, reading: Reading
) -> tuple[str, list[str]] | None:
    """Return the path of the node and the keys below it that are meant."""
    name, *keys = parts
    try:
        path = names.find(name)
    except UnclearNameError as error:
        if name in ROOT.keys:
            return names.root, parts
        message = (
            f"{error.message}, and no key of the pipeline" if not error.allowed else str(error)
        )
        suggestion = error.suggestion or closest(name, ROOT.keys)
        _refuse(reading, mark, name, message, error.allowed, suggestion)
        return None
    if not keys:
        _refuse(reading, mark, name, "a node has keys; say which", f"`{name}.key=value`")
        return None
    return _known_key(path, keys, names, mark, reading)


def _known_key(
    path: str, keys: list[str], names: Names, mark: Mark, reading: Reading
) -> tuple[str, list[str]] | None:
    """Check the first key; one that only the segment's `params` have means that parameter."""
    record, node = _record_of(path, names), names.nodes[path]
    if keys[0] in record.keys:
        return path, keys
    params = node.value("params") if isinstance(node, Table) and record is SEGMENT else None
    declared = params.entries if isinstance(params, Table) else {}
    if keys[0] in declared:
        return path, ["params", *keys]
    allowed = listed(record.keys)
    if declared:
        allowed += f"; or a parameter, {listed(declared)}"
    _refuse(reading, mark, keys[0], "an unknown key", allowed, record.suggest(keys[0], declared))
    return None


def _refuse(  # noqa: PLR0913, PLR0917 - the parts of a Problem
    reading: Reading, mark: Mark, found: str, message: str, allowed: str, suggestion: str = ""
) -> None:
    meant = ticked(suggestion)
    reading.error(mark, "", message, found=shown(found), allowed=allowed, suggestion=meant)


# ---------------------------------------------------------------------------------------- values


def _value(text: str, mark: Mark, reading: Reading, *, as_text: bool) -> Node | None:
    """Return the node that a value's text stands for; lists, mappings and quotes are YAML's."""
    if as_text or not text:
        return Scalar(text, mark, literal=True)
    if text[0] not in "[{\"'":
        return Scalar(text, mark, plain=True, literal=True)
    findings = Findings()
    node = parse_value(text, mark.file, findings)
    for problem in findings.errors:
        reading.findings.error(replace(problem, mark=mark))
    return _literal(node, mark) if node is not None else None


def _literal(node: Node, mark: Mark) -> Node:
    """Return the same value, placed at the option, its texts standing for themselves."""
    match node:
        case Scalar():
            return replace(node, mark=mark, literal=True)
        case Items():
            return Items(tuple(_literal(item, mark) for item in node.items), mark)
        case Table():
            entries = node.entries.items()
            return Table({k: Entry(mark, _literal(e.value, mark)) for k, e in entries}, mark)


def _old_value(node: Node | None, keys: Sequence[str]) -> Node | None:
    for key in keys:
        node = node.value(key) if isinstance(node, Table) else None
    return node


def _is_text(old: Node | None) -> bool:
    """Tell whether a parameter is declared as a text, so that its new value is one too."""
    if not isinstance(old, Scalar):
        return False
    try:
        return not old.plain or isinstance(plain_value(old.text), str)
    except AmbiguousError:
        return False


# --------------------------------------------------------------------------------------- changes


def _with_value(
    node: Node | None, keys: Sequence[str], entry: Entry, shape: Shape | None, reading: Reading
) -> Node | None:
    """Return a node with one value below it replaced, the way to it made if new.

    Args:
        node: what stands there now, if anything.
        keys: the way from it to the value.
        entry: the value.
        shape: what the node should be, so that short forms can be written out.
        reading: where it goes that the way leads through a list or a single value; the answer is
            then None.
    """
    if not keys:
        return entry.value
    record = shape if isinstance(shape, Record) else None
    if record is not None and node is not None:
        node = record.written_out(node)
    if node is None:
        node = Table({}, entry.key_mark)
    if not isinstance(node, Table):
        kind = "a list" if isinstance(node, Items) else "a single value"
        message = f"there is no `{keys[0]}` in {kind}; set the whole of it"
        reading.error(entry.key_mark, "", message)
        return None
    key, *deeper = keys
    below = record.keys[key].shape if record is not None and key in record.keys else None
    value = _with_value(node.value(key), deeper, entry, below, reading)
    if value is None:
        return None
    old = node.entries.get(key)
    return node.put(key, Entry(old.key_mark if old else entry.key_mark, value))


def _replaced(root: Table, names: Sequence[str], changed: Node) -> Table:
    """Return the tree with one node exchanged."""
    if not names:
        assert isinstance(changed, Table)
        return changed
    children = root.value("children")
    assert isinstance(children, Table)
    entry = children.entries[names[0]]
    if len(names) > 1:
        assert isinstance(entry.value, Table)
        changed = _replaced(entry.value, names[1:], changed)
    children = children.put(names[0], replace(entry, value=changed))
    return root.put("children", replace(root.entries["children"], value=children))
