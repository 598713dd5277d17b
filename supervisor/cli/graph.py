"""`psup graph`: the tree and the order of data, for people, for documents and for programs.

Two relations are drawn: who supervises whom (boxes in boxes) and who waits for whose data (`after`,
arrows). Decides only how they are drawn. A pipeline that is stored also shows its states; then
neither Ray nor sqlite-utils nor YAML is imported.
Read next: `picture.py` (where states come from), `whatif.walk` (the same tree from a file).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from supervisor.cli.arguments import PipelineType, examples
from supervisor.cli.home import Home
from supervisor.cli.picture import launched, open_store, view, walk
from supervisor.cli.render import terminal, write
from supervisor.cli.targets import resolve_pipelines
from supervisor.cli.words import listing
from supervisor.errors import NoSuchTarget

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SCHEMA_VERSION = 1


class Box(NamedTuple):
    """One node of the drawing.

    Args:
        path: full path.
        kind: "task" or "service"; "supervisor".
        strategy: of a supervisor, else "".
        after: paths whose data it waits for.
        state: the word for its present state; "" when it was read from a file.
    """

    path: str
    kind: str
    strategy: str
    after: tuple[str, ...]
    state: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The path of its supervisor, "" for the root."""
        return self.path.rpartition("/")[0]


# ----------------------------------------------------------------------------------------- sources


def boxes_of_file(file: Path) -> list[Box]:
    """Return the nodes that a pipeline file declares, parents before children."""
    from supervisor.cli.whatif import walk as walk_specs
    from supervisor.config import load
    from supervisor.core.spec import SegmentSpec

    spec = load(file, environment=os.environ).spec
    return [
        Box(path, node.kind.value, "", node.after)
        if isinstance(node, SegmentSpec)
        else Box(path, "supervisor", node.strategy.value, ())
        for path, node in walk_specs(spec)
    ]


def boxes_of_store(name: str | None) -> list[Box]:
    """Return the nodes of a launched pipeline with their states, parents before children."""
    with open_store(Home.resolve()) as reader:
        rows = launched(reader)
        names = [row.name for row in rows if row.state != "down"] or [row.name for row in rows]
        wanted = resolve_pipelines([name] if name else [], [row.name for row in rows])
        if name is None:
            wanted = names
        if len(wanted) > 1:
            raise NoSuchTarget(f"there are {listing(wanted)}", hint=f"psup graph {wanted[0]}")
        seen = view(reader, next(row for row in rows if row.name == wanted[0]))
    return [
        Box(
            node["path"],
            node["kind"],
            node.get("strategy", ""),
            tuple(seen.rows[node["path"]].spec.get("after", ())),
            node["state"],
        )
        for node in walk(seen.root)
    ]


# ----------------------------------------------------------------------------------------- drawing


def as_ascii(boxes: Sequence[Box]) -> list[str]:
    """Return the tree in lines, with what each waits for behind it."""
    last_of = {box.parent: box.path for box in boxes}
    names = [_strokes(box, last_of) + box.name for box in boxes]
    kinds = [box.strategy or box.kind for box in boxes]
    screen = terminal()
    widths = [max(map(len, column)) for column in (names, kinds, [box.state for box in boxes])]
    lines = []
    for box, name, kind in zip(boxes, names, kinds, strict=True):
        waits = ", ".join(_below(path) for path in box.after)
        state = screen.state(box.state) + " " * (widths[2] - len(box.state))
        words = (f"{name:{widths[0]}}", f"{kind:{widths[1]}}", state, waits and f"after {waits}")
        lines.append("  ".join(filter(None, words)).rstrip())
    return lines


def _strokes(box: Box, last_of: Mapping[str, str]) -> str:
    """Return what stands before a name: a stroke for each level that goes on below."""
    if not box.parent:
        return ""
    strokes = "`-- " if last_of[box.parent] == box.path else "|-- "
    above = box.parent
    while "/" in above:
        outer = above.rpartition("/")[0]
        strokes = ("    " if last_of[outer] == above else "|   ") + strokes
        above = outer
    return strokes


def as_mermaid(boxes: Sequence[Box]) -> list[str]:
    """Return a flowchart as Markdown documents show it."""
    number = {box.path: f"n{index}" for index, box in enumerate(boxes)}

    def open_box(box: Box) -> str:
        return f'subgraph {number[box.path]}["{_label(box, "<br/>")}"]'

    def leaf(box: Box) -> str:
        begin, end = ("([", "])") if box.kind == "service" else ("[", "]")
        return f'{number[box.path]}{begin}"{_label(box, "<br/>")}"{end}'

    arrows = [f"  {number[source]} --> {number[target]}" for source, target in _edges(boxes)]
    return ["flowchart LR", *_nested(boxes, open_box, leaf, "end"), *arrows]


def as_dot(boxes: Sequence[Box]) -> list[str]:
    """Return the graph in Graphviz's language."""
    number = {box.path: f"n{index}" for index, box in enumerate(boxes)}

    def open_box(box: Box) -> str:
        return f'subgraph cluster_{number[box.path]} {{ label="{_label(box, chr(92) + "n")}";'

    def leaf(box: Box) -> str:
        shape = "ellipse" if box.kind == "service" else "box"
        return f'{number[box.path]} [shape={shape}, label="{_label(box, chr(92) + "n")}"];'

    arrows = [f"  {number[source]} -> {number[target]};" for source, target in _edges(boxes)]
    return ["digraph {", "  rankdir=LR;", *_nested(boxes, open_box, leaf, "}"), *arrows, "}"]


def as_json(boxes: Sequence[Box]) -> list[str]:
    """Return nodes and edges as one JSON document."""
    import json

    nodes = [
        {
            "path": box.path,
            "parent": box.parent or None,
            "kind": box.kind,
            "strategy": box.strategy or None,
            "state": box.state or None,
        }
        for box in boxes
    ]
    edges = [{"from": source, "to": target} for source, target in _edges(boxes)]
    return [json.dumps({"schema_version": SCHEMA_VERSION, "nodes": nodes, "after": edges})]


def _nested(
    boxes: Sequence[Box], open_box: Callable[[Box], str], leaf: Callable[[Box], str], close: str
) -> Iterator[str]:
    """Yield supervisors as boxes around what they supervise."""
    opened: list[str] = []
    for box in boxes:
        while opened and opened[-1] != box.parent:
            opened.pop()
            yield "  " * (len(opened) + 1) + close
        indent = "  " * (len(opened) + 1)
        if box.kind == "supervisor":
            yield indent + open_box(box)
            opened.append(box.path)
        else:
            yield indent + leaf(box)
    while opened:
        opened.pop()
        yield "  " * (len(opened) + 1) + close


def _edges(boxes: Sequence[Box]) -> Iterator[tuple[str, str]]:
    for box in boxes:
        for source in box.after:
            yield source, box.path


def _label(box: Box, line_break: str) -> str:
    first = f"{box.name} ({box.strategy})" if box.strategy else box.name
    return line_break.join(filter(None, (first, box.state)))


def _below(path: str) -> str:
    return path.partition("/")[2] or path


_FORMATS: Mapping[str, Callable[[Sequence[Box]], list[str]]] = {
    "ascii": as_ascii,
    "mermaid": as_mermaid,
    "dot": as_dot,
    "json": as_json,
}


class _FileOrPipeline(PipelineType):
    """A pipeline that was launched, or a file; completes both."""

    name = "file or pipeline"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer pipelines, then let the shell offer files."""
        from click.shell_completion import CompletionItem as Item

        return [*super().shell_complete(ctx, param, incomplete), Item(incomplete, type="file")]


@click.command(
    epilog=examples(
        "psup graph",
        "psup graph pipelines/digits/pipeline.yaml --format mermaid",
        "psup graph digits --format dot | dot -Tsvg > digits.svg",
    )
)
@click.argument("source", required=False, type=_FileOrPipeline(), metavar="[FILE|PIPELINE]")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    default="ascii",
    show_default=True,
    help="How to draw it.",
)
def graph(source: str | None, *, form: str) -> None:
    """Draw the tree and the order of data of a FILE, or of a launched PIPELINE with its states."""
    is_file = source is not None and (Path(source).is_file() or "/" in source or "." in source)
    boxes = boxes_of_file(Path(source)) if source and is_file else boxes_of_store(source)
    write(_FORMATS[form](boxes))
