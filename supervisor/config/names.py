"""What a name in a pipeline file stands for, and whether the named nodes can start in that order.

Decides how `after` and `--set` find nodes (by path, as a sibling, by a last part that only one node
has) and whether the orders that `after` asks for can all be kept. Works on names alone, before
anything is known to be valid, so that one bad node does not make all references to it look wrong.
Read next: `build.py` and `overrides.py` (who ask).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from supervisor.config.document import Node, Table
from supervisor.config.problems import closest, listed
from supervisor.core.spec import Path


class UnclearNameError(LookupError):
    """A name that stands for no node, or for several.

    Args:
        message: which of the two.
        allowed: the paths that it may mean, if several.
        suggestion: the name that was probably meant, if none.
    """

    def __init__(self, message: str, allowed: str = "", suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.allowed = allowed
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Names:
    """Every node of a pipeline by its full path, in the order of the file.

    Args:
        root: the pipeline's name.
        nodes: path -> the node as it stands in the file; the root first.
        by_last_part: name -> the paths that end in it.
    """

    root: str
    nodes: Mapping[Path, Node]
    by_last_part: Mapping[str, Sequence[Path]]

    def segments_below(self, path: Path) -> tuple[Path, ...]:
        """Return the segments that a node stands for: itself, or all below a supervisor."""
        if not is_supervisor(self.nodes[path]):
            return (path,)
        return tuple(
            "/".join((path, *parts))
            for parts, node in _walk(self.nodes[path], ())
            if not is_supervisor(node)
        )

    def find(self, name: str, siblings_of: Path = "") -> Path:
        """Return the path of the node that a name means.

        Args:
            name: a full path, a path below the pipeline, or a last part.
            siblings_of: the path of a node whose siblings are meant first.

        Raises:
            UnclearNameError: no node or several nodes answer to it.
        """
        parent = siblings_of.rpartition("/")[0]
        exact = [f"{parent}/{name}"] if parent else []
        for path in (*exact, name, f"{self.root}/{name}"):
            if path in self.nodes:
                return path
        same_last = self.by_last_part.get(name.rpartition("/")[2], ())
        same_end = [path for path in same_last if path.endswith(f"/{name}")]
        if len(same_end) == 1:
            return same_end[0]
        if same_end:
            raise UnclearNameError("several nodes have that name", allowed=listed(same_end))
        below_root = [path.removeprefix(f"{self.root}/") for path in self.nodes]
        known = below_root if "/" in name else self.by_last_part
        raise UnclearNameError("no node has that name", suggestion=closest(name, known))


def names_of(root: Table, name: str) -> Names:
    """Collect the nodes of a pipeline, except those whose names could be no part of a path.

    Args:
        root: the top level of the file.
        name: the pipeline's name.
    """
    name = name.replace("/", "-")
    nodes = {"/".join((name, *parts)): node for parts, node in _walk(root, ())}
    by_last_part: dict[str, list[Path]] = {}
    for path in nodes:
        by_last_part.setdefault(path.rpartition("/")[2], []).append(path)
    return Names(name, nodes, by_last_part)


def is_supervisor(node: Node) -> bool:
    """Tell whether a node is a supervisor: a mapping with children."""
    return isinstance(node, Table) and "children" in node.entries


def _walk(node: Node, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    yield parts, node
    children = node.value("children") if isinstance(node, Table) else None
    if isinstance(children, Table):
        for name, entry in children.entries.items():
            if "/" not in name:
                yield from _walk(entry.value, (*parts, name))


def find_cycles(after: Mapping[Path, Sequence[Path]]) -> list[tuple[Path, ...]]:
    """Return one way around every knot of nodes that wait for each other.

    Args:
        after: node -> the nodes that it waits for.

    Returns:
        For every knot a path along it that ends where it began.

    >>> find_cycles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]})
    [('a', 'b', 'c', 'a')]
    >>> find_cycles({"a": ["b"], "b": []})
    []
    """
    cycles = []
    done: set[Path] = set()
    for start in after:
        trail: dict[Path, Iterator[Path]] = {}
        node: Path | None = start
        while node is not None:
            if node not in done and node not in trail:
                trail[node] = iter(after.get(node, ()))
            elif node in trail:
                around = list(trail)[list(trail).index(node) :]
                cycles.append((*around, node))
                done.update(around)
            node = _next_step(trail, done)
    return cycles


def _next_step(trail: dict[Path, Iterator[Path]], done: set[Path]) -> Path | None:
    """Go on from the end of the trail, back where nothing is left; None when all was seen."""
    while trail:
        last = next(reversed(trail))
        step = next(trail[last], None) if last not in done else None
        if step is not None:
            return step
        done.add(last)
        del trail[last]
    return None
