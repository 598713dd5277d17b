"""Lists and mappings of values, and the records whose keys the tables of `keys.py` name.

Decides how a record is read (unknown keys are problems, `x-` keys are skipped, a short form stands
for a mapping), how one is laid over another (a segment over its policy), and what it looks like in
a JSON Schema. Reports problems and goes on, as all shapes do.
Read next: `keys.py` (the records there are), `build.py` (what becomes of the values).
"""

# ruff: noqa: D102 - the methods of every shape are those that the protocol documents

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.config.document import Entry, Items, Node, Scalar, Table, describe
from supervisor.config.problems import Mark, closest, listed, shown
from supervisor.config.scalars import is_nothing
from supervisor.config.shapes import INVALID, Json, Reading, Shape, Text, ticked


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one kind of value.

    Args:
        item: the kind.
        expected: what to call the list.
        least: how many it holds at least.
        unique: whether an item may stand in it only once.
    """

    item: Shape
    expected: str
    least: int = 1
    unique: bool = False

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        if not isinstance(node, Items):
            return reading.refuse(node, key, self, self._as_list(node))
        if len(node.items) < self.least:
            return reading.error(node, key, "the list is empty", allowed=self.expected)
        values = []
        for index, item in enumerate(node.items):
            value = self.item.read(item, f"{key}[{index}]", reading)
            if self.unique and value is not INVALID and value in values:
                reading.error(item, f"{key}[{index}]", "named twice", found=describe(item))
            values.append(value)
        return INVALID if INVALID in values else tuple(values)

    @staticmethod
    def _as_list(node: Node) -> str:
        """Suggest the list that a single text was probably meant as."""
        if not isinstance(node, Scalar) or (node.plain and is_nothing(node.text)):
            return ""
        try:
            words = shlex.split(node.text)
        except ValueError:
            return ""
        return f"[{', '.join(words)}]"

    def schema(self) -> Json:
        schema = {"type": "array", "items": self.item.schema(), "minItems": self.least}
        return {**schema, "uniqueItems": True} if self.unique else schema


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping whose keys are the user's own words.

    Args:
        name: the shape of the keys.
        value: the shape of the values.
        expected: what to call the mapping.
        least: how many keys it holds at least.
    """

    name: Text
    value: Shape
    expected: str
    least: int = 0

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        if not isinstance(node, Table):
            return reading.refuse(node, key, self)
        if len(node.entries) < self.least:
            return reading.error(node, key, "the mapping is empty", allowed=self.expected)
        values = {}
        for name, entry in node.entries.items():
            inner = f"{key}.{name}"
            if self.name.pattern and not re.fullmatch(self.name.pattern, name, re.ASCII):
                self._misnamed(name, entry, inner, reading)
            values[name] = self.value.read(entry.value, inner, reading)
        return {name: value for name, value in values.items() if value is not INVALID}

    def _misnamed(self, name: str, entry: Entry, key: str, reading: Reading) -> None:
        allowed, meant = self.name.expected, ticked(self.name.meant(name))
        mark, found = entry.key_mark, shown(name)
        reading.error(mark, key, "a wrong name", found=found, allowed=allowed, suggestion=meant)

    def schema(self) -> Json:
        schema: Json = {"type": "object", "additionalProperties": self.value.schema()}
        if self.name.pattern:
            schema["propertyNames"] = {"pattern": f"^(?:{self.name.pattern})$"}
        return {**schema, "minProperties": self.least} if self.least else schema


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a record.

    Args:
        shape: what may stand there.
        doc: what it does, one sentence for the reference.
        default: what holds when it is left out, in words; "" when it must not be.
        meant: foreign names of it, suggested when somebody writes one of them.
    """

    shape: Shape
    doc: str
    default: str = ""
    meant: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """What was read from a record, and where each part stood."""

    values: Mapping[str, Any]
    table: Table
    key: str

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value that was read and is valid, or the default."""
        return self.values.get(name, default)

    def has(self, name: str) -> bool:
        """Tell whether the key is written at all, its value valid or not."""
        return name in self.table.entries

    def mark(self, name: str) -> Mark:
        """Return where the value of a key stands; the record's place if it has none."""
        value = self.table.value(name)
        return value.mark if value else self.table.mark

    def path(self, name: str) -> str:
        """Return the full key path of one of its keys."""
        return f"{self.key}.{name}" if self.key else name


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys. Keys that start with `x-` are the user's own and are skipped.

    Args:
        title: its name in the schema and the reference.
        keys: those allowed.
        short: the key whose value may be written in place of the whole mapping.
        required: keys that must stand in it.
        choice: keys of which exactly one stands in it.
        choice_needed: whether none of them is wrong.
    """

    title: str
    keys: Mapping[str, Key]
    short: str = ""
    required: tuple[str, ...] = ()
    choice: tuple[str, ...] = ()
    choice_needed: bool = True

    @property
    def expected(self) -> str:
        keys = f"a mapping with {listed(self.keys)}"
        return f"{self.keys[self.short].shape.expected}, or {keys}" if self.short else keys

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        table = self.written_out(node)
        if not isinstance(table, Table):
            return reading.refuse(node, key, self)
        is_short = table is not node
        values = {}
        for name, entry in self._own(table):
            inner = key if is_short else f"{key}.{name}" if key else name
            if name not in self.keys:
                self._unknown(name, entry, inner, reading)
                continue
            value = self.keys[name].shape.read(entry.value, inner, reading)
            if value is not INVALID:
                values[name] = value
        self._check_presence(table, key, reading)
        return Fields(values, table, key)

    def written_out(self, node: Node) -> Node:
        """Return the mapping that a short form stands for; other nodes as they are."""
        if self.short and not isinstance(node, Table):
            return Table({self.short: Entry(node.mark, node)}, node.mark)
        return node

    def overlaid(self, own: Table, under: Table) -> Table:
        """Return both laid over each other: own keys win, mappings with known keys are merged."""
        chosen = any(name in own.entries for name in self.choice)
        entries = {
            name: entry
            for name, entry in under.entries.items()
            if not (chosen and name in self.choice)
        }
        for name, entry in own.entries.items():
            entries[name] = entry
            below = under.value(name)
            shape = self.keys[name].shape if name in self.keys else None
            if below is not None and isinstance(shape, Record):
                above, below = shape.written_out(entry.value), shape.written_out(below)
                if isinstance(above, Table) and isinstance(below, Table):
                    entries[name] = Entry(entry.key_mark, shape.overlaid(above, below))
        return Table(entries, own.mark)

    def suggest(self, name: str, more: Iterable[str] = ()) -> str:
        """Return the key that was probably meant by an unknown one."""
        wanted = name.lower().replace("-", "_")
        for known, key in self.keys.items():
            if wanted in key.meant:
                return known
        for known, key in self.keys.items():
            inner = key.shape.keys if isinstance(key.shape, Record) else {}
            for nested, nested_key in inner.items():
                if wanted == nested or wanted in nested_key.meant:
                    return f"{known}.{nested}"
        return closest(name, [*self.keys, *more])

    def schema(self) -> Json:
        return {"$ref": f"#/$defs/{self.title}"}

    def definition(self) -> Json:
        """Return what the schema's reference points to."""
        properties = {
            name: {**key.shape.schema(), "description": key.doc} for name, key in self.keys.items()
        }
        mapping: Json = {
            "type": "object",
            "properties": properties,
            "patternProperties": {"^x-": True},
            "additionalProperties": False,
        }
        if self.required:
            mapping["required"] = list(self.required)
        if self.choice:
            one_each: list[Json] = [{"required": [name]} for name in self.choice]
            none_at_all: list[Json] = [{"not": {"anyOf": one_each}}]
            mapping["oneOf"] = one_each + ([] if self.choice_needed else none_at_all)
        if not self.short:
            return mapping
        return {"anyOf": [self.keys[self.short].shape.schema(), mapping]}

    @staticmethod
    def _own(table: Table) -> Iterator[tuple[str, Entry]]:
        return ((name, e) for name, e in table.entries.items() if not name.startswith("x-"))

    def _unknown(self, name: str, entry: Entry, key: str, reading: Reading) -> None:
        allowed, meant = listed(self.keys), ticked(self.suggest(name))
        mark, found = entry.key_mark, shown(name)
        reading.error(mark, key, "an unknown key", found=found, allowed=allowed, suggestion=meant)

    def _check_presence(self, table: Table, key: str, reading: Reading) -> None:
        for name in self.required:
            if name not in table.entries:
                reading.error(table, key, f"the key `{name}` is missing")
        chosen = [name for name in table.entries if name in self.choice]
        if len(chosen) > 1:
            second = table.entries[chosen[1]].key_mark
            found, allowed = " and ".join(map(shown, chosen)), f"one of {listed(self.choice)}"
            reading.error(second, key, "keys that exclude each other", found=found, allowed=allowed)
        if not chosen and self.choice and self.choice_needed:
            reading.error(table, key, f"one of {listed(self.choice)} is missing")
