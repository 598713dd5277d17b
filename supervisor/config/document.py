"""A file as a tree of values that remember where they stand.

Decides nothing about meaning: a scalar is the text that the person typed, and whether it was
quoted. The tree is immutable, so that anchors share their parts safely; a change makes a new tree
along the path to it and keeps the rest.
Read next: `strict_yaml.py` (who makes it), `scalars.py` (what a scalar means).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from supervisor.config.problems import Mark, shown


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text.

    Args:
        text: what was typed, quotes and escapes resolved.
        plain: whether it stood without quotes, so that it may mean a number or a truth value.
        literal: whether `${VAR}` in it stands for itself (values of `--set`).
    """

    text: str
    mark: Mark
    plain: bool = False
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a table; the key has a place of its own."""

    key_mark: Mark
    value: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the order of the file."""

    entries: Mapping[str, Entry]
    mark: Mark

    def put(self, key: str, entry: Entry) -> Table:
        """Return this table with one entry replaced in its place, or added at the end."""
        return replace(self, entries={**self.entries, key: entry})

    def value(self, key: str) -> Node | None:
        """Return the value of a key, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None


Node = Scalar | Items | Table


def describe(node: Node) -> str:
    """Return what a message says was found: the text as it was typed, or the kind of node."""
    match node:
        case Table():
            return "a mapping"
        case Items():
            return "a list"
        case Scalar(text="", plain=True):
            return "nothing"
        case Scalar(plain=True):
            return shown(node.text)
        case Scalar():
            return shown(f'"{node.text}"')
