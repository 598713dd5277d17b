"""YAML text in, a located tree out; whatever could be misread is refused.

Decides which texts are YAML to us: UTF-8 without a byte order mark, one document, no duplicate
keys, no tags, no anchor that refers to itself or multiplies the file, no nesting beyond reason.
It gives no meaning to scalars (`on` stays the text `on`), so none of YAML 1.1's surprises can
happen here. Anchors, aliases and merge keys (`<<`) work as in YAML 1.1.
Built on PyYAML's event stream rather than on its node graph, because composing nodes recurses
without a bound and forgets which tags were written by hand. The only file that imports PyYAML.
Read next: `document.py` (the tree), `scalars.py` (what plain text means).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.reader import Reader

from supervisor.config.document import Entry, Items, Node, Scalar, Table, describe
from supervisor.config.problems import Findings, Mark, Problem, shown

LARGEST_FILE_BYTES = 2**20
DEEPEST_NESTING = 100
MOST_ALIASED_NODES = 200_000

_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "UTF-8",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_CONTAINER_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def parse(data: bytes, file: str, findings: Findings) -> Table | None:
    """Return the mapping that a file holds.

    Args:
        data: the content, as it lies on disk.
        file: the name to show in problems.
        findings: where every problem goes.

    Returns:
        The tree, or None when there is none to speak of; a problem then says why.
    """
    try:
        text = _decode(data, file)
        root = _Composer(text, file, findings).document()
    except _RefusedError as error:
        findings.error(error.problem)
        return None
    if isinstance(root, Table):
        return root
    message = "a file holds a mapping at its top level"
    findings.error(Problem(root.mark, "", message, describe(root)))
    return None


def parse_value(text: str, file: str, findings: Findings) -> Node | None:
    """Return one value written in YAML's flow style (`[a, b]`), as `--set` takes it."""
    try:
        return _Composer(_decode(text.encode(), file), file, findings).document()
    except _RefusedError as error:
        findings.error(error.problem)
        return None


class _RefusedError(Exception):
    """The text cannot be read any further."""

    def __init__(self, mark: Mark, message: str, found: str = "", suggestion: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(mark, "", message, found, suggestion=suggestion)


# ------------------------------------------------------------------------------------ characters


def _decode(data: bytes, file: str) -> str:
    for mark_bytes, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark_bytes):
            message = f"the file starts with a byte order mark ({encoding}); save it as plain UTF-8"
            raise _RefusedError(Mark(file, 1, 1), message)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        found = f"the byte 0x{data[error.start]:02x}"
        message = "the file is not UTF-8 text"
        raise _RefusedError(_mark_after(before, file), message, found) from error
    _check_characters(text, file)
    return text


def _check_characters(text: str, file: str) -> None:
    """Refuse what editors do not show: control characters, and tabs used as indentation."""
    hidden = Reader.NON_PRINTABLE.search(text)
    if hidden:
        mark = _mark_after(text[: hidden.start()], file)
        raise _RefusedError(mark, "a control character", f"U+{ord(hidden[0]):04X}")
    inner_mark = text.find("\ufeff")
    if inner_mark >= 0:
        raise _RefusedError(_mark_after(text[:inner_mark], file), "a byte order mark", "U+FEFF")


def _mark_after(before: str, file: str) -> Mark:
    """Return the place right after this text."""
    lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", before)
    return Mark(file, len(lines), len(lines[-1]) + 1)


# ---------------------------------------------------------------------------------------- nodes


@dataclass(frozen=True, slots=True)
class _Built:
    """A node with its extent once every alias in it is written out."""

    node: Node
    nodes: int = 1
    height: int = 1


class _Composer:
    """Turns PyYAML's events into one tree."""

    def __init__(self, text: str, file: str, findings: Findings) -> None:
        self._file = file
        self._findings = findings
        self._text = text
        self._loader = yaml.SafeLoader(text)
        self._events = self._stream()
        self._anchors: dict[str, _Built | None] = {}  # None: still being built
        self._aliased_nodes = 0

    def document(self) -> Node:
        """Return the root of the only document."""
        next(self._events)  # the stream starts
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise _RefusedError(Mark(self._file, 1, 1), "the file is empty")
        root = self._node(next(self._events), depth=1).node
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _RefusedError(self._mark(after), "a second document; one file is one pipeline")
        if isinstance(root, Scalar) and root.plain and not root.text:
            raise _RefusedError(Mark(self._file, 1, 1), "the file is empty")
        return root

    def _stream(self) -> Iterator[yaml.Event]:
        r"""Yield the events; syntax errors become problems with a place.

        PyYAML lets some of its own conversions fail (`%YAML` with a huge number, `\UFFFFFFFF`), so
        any ValueError here is the text's fault.
        """
        try:
            while self._loader.check_event():
                event: yaml.Event = self._loader.get_event()  # type: ignore[no-untyped-call]
                yield event
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except (ValueError, OverflowError) as error:
            mark = Mark(self._file, self._loader.line + 1, self._loader.column + 1)
            raise _RefusedError(mark, "an escape or a directive that stands for nothing") from error

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> _RefusedError:
        at = error.problem_mark or error.context_mark
        if at is None:
            return _RefusedError(Mark(self._file, 1, 1), str(error.problem or error.context))
        mark = Mark(self._file, at.line + 1, at.column + 1)
        if self._text[at.index : at.index + 1] == "\t":
            return _RefusedError(mark, "a tab; indent and separate with spaces")
        reason = f"{error.context}: {error.problem}" if error.context else f"{error.problem}"
        return _RefusedError(mark, f"not YAML: {reason}", suggestion=_meant(reason))

    def _mark(self, event: yaml.Event) -> Mark:
        at = event.start_mark
        assert at is not None
        return Mark(self._file, at.line + 1, at.column + 1)

    def _node(self, event: yaml.Event, depth: int) -> _Built:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        assert isinstance(event, yaml.NodeEvent)
        mark = self._mark(event)
        if depth > DEEPEST_NESTING:
            raise _RefusedError(mark, f"nested more than {DEEPEST_NESTING} levels deep")
        tag = getattr(event, "tag", None)
        if tag is not None:
            message = "tags are not supported; a value means what its key says"
            self._findings.error(Problem(mark, "", message, shown(tag)))
        if event.anchor is not None:
            if event.anchor in self._anchors:
                raise _RefusedError(mark, "a second anchor of that name", shown(event.anchor))
            self._anchors[event.anchor] = None
        built = self._content(event, mark, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = built
        return built

    def _content(self, event: yaml.NodeEvent, mark: Mark, depth: int) -> _Built:
        if isinstance(event, yaml.ScalarEvent):
            return _Built(self._scalar(event, mark))
        if isinstance(event, yaml.SequenceStartEvent):
            items = list(self._children(depth))
            return _container(Items(tuple(item.node for item in items), mark), items)
        built = list(self._children(depth))
        pairs = list(zip(built[::2], built[1::2], strict=True))
        return _container(self._table(pairs, mark), built)

    def _children(self, depth: int) -> Iterator[_Built]:
        while not isinstance(event := next(self._events), _CONTAINER_ENDS):
            yield self._node(event, depth + 1)

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        """Return the text; what no process or database could take is refused here."""
        for character, name in (("\0", "a NUL character"), ("\ud800-\udfff", "half a character")):
            hidden = re.search(f"[{character}]", event.value)
            if hidden:
                message = f"{name} in a text"
                self._findings.error(Problem(mark, "", message, f"U+{ord(hidden[0]):04X}"))
                return Scalar("?", mark)
        return Scalar(event.value, mark, plain=event.style is None)

    def _alias(self, event: yaml.AliasEvent, depth: int) -> _Built:
        mark, name = self._mark(event), event.anchor
        if name not in self._anchors:
            raise _RefusedError(mark, "no anchor of that name stands above", shown(f"*{name}"))
        built = self._anchors[name]
        if built is None:
            raise _RefusedError(mark, "an anchor that contains itself", shown(f"*{name}"))
        self._aliased_nodes += built.nodes
        if self._aliased_nodes > MOST_ALIASED_NODES:
            message = f"the aliases stand for more than {MOST_ALIASED_NODES} values"
            raise _RefusedError(mark, message, shown(f"*{name}"))
        if depth + built.height - 1 > DEEPEST_NESTING:
            message = f"the aliases nest more than {DEEPEST_NESTING} levels deep"
            raise _RefusedError(mark, message, shown(f"*{name}"))
        return built

    # ------------------------------------------------------------------------------------ tables

    def _table(self, pairs: list[tuple[_Built, _Built]], mark: Mark) -> Table:
        own: dict[str, Entry] = {}
        merged: Table | None = None
        order: list[str] = []  # keys as they come, those of `<<` at its place
        for key, value in pairs:
            name = self._key(key.node)
            if name is None:
                continue
            is_merge = isinstance(key.node, Scalar) and key.node.plain and name == "<<"
            if name in own or (is_merge and merged is not None):
                self._duplicate(key.node.mark, name, own)
            elif is_merge:
                merged = self._merged(value.node)
                order.extend(merged.entries)
            else:
                own[name] = Entry(key.node.mark, value.node)
                order.append(name)
        if merged is None:
            return Table(own, mark)
        entries = {**merged.entries, **own}
        return Table({name: entries[name] for name in dict.fromkeys(order)}, mark)

    def _key(self, node: Node) -> str | None:
        if isinstance(node, Scalar) and (node.text or not node.plain):
            return node.text
        message = "a key is a plain text"
        self._findings.error(Problem(node.mark, "", message, describe(node)))
        return None

    def _duplicate(self, mark: Mark, name: str, own: dict[str, Entry]) -> None:
        first = f"; the first stands in line {own[name].key_mark.line}" if name in own else ""
        self._findings.error(Problem(mark, name, f"a duplicate key{first}", shown(name)))

    def _merged(self, value: Node) -> Table:
        """Return what `<<` brings in; of several tables the first one wins, as in YAML 1.1."""
        sources = value.items if isinstance(value, Items) else (value,)
        entries: dict[str, Entry] = {}
        for source in sources:
            if not isinstance(source, Table):
                message = "`<<` takes a mapping or a list of mappings, usually an alias"
                self._findings.error(Problem(source.mark, "<<", message, describe(source)))
                continue
            entries = {**entries, **{k: v for k, v in source.entries.items() if k not in entries}}
        return Table(entries, value.mark)


def _container(node: Node, built: list[_Built]) -> _Built:
    nodes = 1 + sum(part.nodes for part in built)
    return _Built(node, nodes, 1 + max((part.height for part in built), default=0))


def _meant(reason: str) -> str:
    """Return what to do about the syntax errors that people make most."""
    if "mapping values are not allowed" in reason:
        return "quotes around a text that holds `: `, or a missing line break"
    if "flow" in reason and "expected" in reason:
        return 'a closing bracket, or quotes around a text that holds brackets ("${VAR}")'
    if "expected <block end>" in reason:
        return "a key indented like its siblings"
    if "could not find expected ':'" in reason:
        return "`key: value`, with a space after the colon"
    return ""
