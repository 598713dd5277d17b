"""The kinds of single value that a key may take: how each is read, named and put into a schema.

Decides what is accepted where, one small class per kind, so that the loader, the JSON Schema and
the reference all come from the same tables (`keys.py`) and cannot disagree. A shape reports
problems and returns INVALID; it never raises, and one bad value never hides the next.
Read next: `records.py` (lists and mappings of these), `keys.py` (the tables made of them).
"""

# ruff: noqa: D102 - the methods of every shape are those that the protocol documents

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from supervisor.config.document import Items, Node, Scalar, Table, describe
from supervisor.config.problems import Findings, Mark, Problem, closest, listed, shown
from supervisor.config.scalars import (
    AmbiguousError,
    VariableError,
    bare_variables,
    has_variables,
    is_nothing,
    plain_value,
    substitute,
)
from supervisor.config.units import (
    CORES_PATTERN,
    DURATION_PATTERN,
    SIZE_PATTERN,
    UnitError,
    format_cores,
    format_duration,
    format_size,
    parse_cores,
    parse_duration,
    parse_size,
)

Json = dict[str, Any]

INVALID: Any = object()
"""What a reader returns for a value that it has reported."""

VARIABLE_SCHEMA = {"$ref": "#/$defs/variable"}
"""A text that holds `${VAR}` may stand for anything, so a schema can say no more about it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What every reader needs: the environment for `${VAR}`, and a place for problems."""

    environment: Mapping[str, str]
    findings: Findings

    def error(  # noqa: PLR0913 - the parts of a Problem
        self,
        at: Node | Mark,
        key: str,
        message: str,
        *,
        found: str = "",
        allowed: str = "",
        suggestion: str = "",
    ) -> Any:
        """Report a problem and return INVALID, so that readers can end with it."""
        mark = at if isinstance(at, Mark) else at.mark
        self.findings.error(Problem(mark, key, message, found, allowed, suggestion))
        return INVALID

    def refuse(self, node: Node, key: str, shape: Shape, suggestion: str = "") -> Any:
        """Report a value that does not have this shape."""
        return self.error(
            node,
            key,
            "a wrong value",
            found=describe(node),
            allowed=shape.expected,
            suggestion=ticked(suggestion),
        )

    def text(self, node: Scalar, key: str) -> Any:
        """Return a scalar's text with its variables replaced."""
        if node.literal:
            return node.text
        for name in bare_variables(node.text):
            message = f"${name} is taken as it stands"
            hint = f"`${{{name}}}` for the variable, or `$${name}` for the text"
            self.findings.warn(Problem(node.mark, key, message, suggestion=hint))
        try:
            return substitute(node.text, self.environment)
        except VariableError as error:
            found, hint = shown(node.text), error.suggestion
            return self.error(node, key, str(error), found=found, suggestion=hint)


class Shape(Protocol):
    """A kind of value."""

    @property
    def expected(self) -> str:
        """Name it in a message and in the reference: `a size such as 512MiB`."""

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        """Return the value, or report and return INVALID."""

    def schema(self) -> Json:
        """Return its JSON Schema."""


def _scalar_text(node: Node, key: str, reading: Reading, shape: Shape) -> Any:
    """Return the text of a scalar that says something; anything else is refused."""
    if not isinstance(node, Scalar) or (node.plain and is_nothing(node.text)):
        return reading.refuse(node, key, shape)
    return reading.text(node, key)


@dataclass(frozen=True, slots=True)
class Text:
    """A text, exactly as it is written: `010` and `on` too.

    Args:
        expected: what to call it.
        pattern: regular expression that all of it matches; "" for any text.
        meant: what to suggest for a text that does not match.
    """

    expected: str = "a text"
    pattern: str = ""
    meant: Callable[[str], str] = lambda _: ""

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        if isinstance(node, Scalar) and node.plain and is_nothing(node.text):
            return reading.refuse(node, key, self, f'"{node.text}"' if not self.pattern else "")
        text = _scalar_text(node, key, reading, self)
        if text is INVALID:
            return INVALID
        if self.pattern and not re.fullmatch(self.pattern, text, re.ASCII):
            return reading.refuse(node, key, self, self.meant(text))
        return text

    def schema(self) -> Json:
        if not self.pattern:
            return {"type": ["string", "number", "boolean"]}
        choices: list[Json] = [{"type": "string", "pattern": f"^(?:{self.pattern})$"}]
        for typed, example in (("number", "1"), ("boolean", "true")):
            if re.fullmatch(self.pattern, example):
                choices.append({"type": typed})
        return {"anyOf": [*choices, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words.

    Args:
        words: those allowed.
        meant: foreign words and what they are called here.
    """

    words: tuple[str, ...]
    meant: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        return listed(self.words)

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID or text in self.words:
            return text
        meant = self.meant.get(text.lower()) or closest(text, self.words)
        return reading.refuse(node, key, self, meant)

    def schema(self) -> Json:
        return {"anyOf": [{"enum": list(self.words)}, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Flag:
    """`true`, for what is only ever switched on."""

    expected: str = "`true`"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        if isinstance(node, Scalar) and node.plain and node.text == "true":
            return True
        return reading.refuse(node, key, self, "true")

    def schema(self) -> Json:
        return {"const": True}


@dataclass(frozen=True, slots=True)
class Number:
    """A number without a unit.

    Args:
        low, high: both allowed.
        whole: whether fractions are refused.
    """

    low: float
    high: float
    whole: bool = True

    @property
    def expected(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low:g} to {self.high:.15g}"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID:
            return INVALID
        digits = "[0-9]+" if self.whole else r"[0-9]+(?:\.[0-9]+)?"
        if not re.fullmatch(digits, text[:40], re.ASCII):
            return reading.refuse(node, key, self, self._meant(text))
        if re.match("0[0-9]", text):
            return reading.refuse(node, key, self, text.lstrip("0") or "0")
        assert isinstance(node, Scalar)
        if not node.plain and not node.literal and not has_variables(node.text):
            return reading.refuse(node, key, self, text)
        if len(text) > 40 or not self.low <= float(text) <= self.high:
            return reading.refuse(node, key, self)
        return int(text) if self.whole else float(text)

    def _meant(self, text: str) -> str:
        """Suggest the plain way to write `1e3`, `1_000` or `60s`."""
        try:
            value = plain_value(text)
        except AmbiguousError as error:
            value = float(error.meant) if re.fullmatch(r"[0-9.]+", error.meant) else None
        if not isinstance(value, float) or isinstance(value, bool):
            return ""
        whole = value == int(value)
        return str(int(value)) if whole else "" if self.whole else repr(value)

    def schema(self) -> Json:
        kind = "integer" if self.whole else "number"
        bounds = {"minimum": self.low, "maximum": self.high}
        return {"anyOf": [{"type": kind, **bounds}, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, written with their unit.

    Args:
        low_s: the shortest allowed, seconds.
        words: words that stand for a value: `{"infinity": None}`.
        bare_seconds: whether a whole number without unit means seconds (`max_seconds: 60`, which
            carries its unit in its name).
    """

    low_s: float = 0.001
    words: Mapping[str, float | None] = field(default_factory=dict)
    bare_seconds: bool = False

    @property
    def expected(self) -> str:
        low = f" of at least {format_duration(self.low_s)}" if self.low_s else ""
        parts = [f"a duration such as `90s` or `1h30m`{low}"]
        if self.bare_seconds:
            parts.append("a whole number of seconds")
        if self.words:
            parts.append(listed(self.words))
        return ", ".join(parts)

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID:
            return INVALID
        if text in self.words:
            return self.words[text]
        if self.bare_seconds and re.fullmatch("0|[1-9][0-9]{0,8}", text, re.ASCII):
            text += "s"
        try:
            duration_s = parse_duration(text)
        except UnitError as error:
            return _refuse_quantity(node, key, reading, self, error)
        return duration_s if duration_s >= self.low_s else reading.refuse(node, key, self)

    def schema(self) -> Json:
        choices: list[Json] = [{"type": "string", "pattern": DURATION_PATTERN}]
        if self.bare_seconds:
            choices.append({"type": "integer", "minimum": 1})
        if self.words:
            choices.append({"enum": list(self.words)})
        return {"anyOf": [*choices, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes, written with their unit.

    Args:
        low_bytes: the smallest that makes sense here.
    """

    low_bytes: int

    @property
    def expected(self) -> str:
        low = format_size(self.low_bytes)
        return f"a size such as `512MiB` or `2GiB` of at least {low}"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID:
            return INVALID
        try:
            size_bytes = parse_size(text)
        except UnitError as error:
            return _refuse_quantity(node, key, reading, self, error)
        return size_bytes if size_bytes >= self.low_bytes else reading.refuse(node, key, self)

    def schema(self) -> Json:
        return {"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Cores:
    """A share of the machine's processors."""

    low_cores: float

    @property
    def expected(self) -> str:
        low = format_cores(self.low_cores)
        return f"a number of cores such as `2`, `0.5` or `500m` of at least {low}"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID:
            return INVALID
        try:
            cores = parse_cores(text)
        except UnitError as error:
            return _refuse_quantity(node, key, reading, self, error)
        return cores if cores >= self.low_cores else reading.refuse(node, key, self)

    def schema(self) -> Json:
        number = {"type": "number", "minimum": self.low_cores}
        text = {"type": "string", "pattern": f"{CORES_PATTERN}|^[0-9]+(?:\\.[0-9]+)?$"}
        return {"anyOf": [number, text, VARIABLE_SCHEMA]}


def _refuse_quantity(node: Node, key: str, reading: Reading, shape: Shape, error: UnitError) -> Any:
    return reading.error(
        node,
        key,
        error.message,
        found=describe(node),
        allowed=shape.expected,
        suggestion=ticked(error.suggestion),
    )


@dataclass(frozen=True, slots=True)
class Port:
    """A port number, or `auto` (0) for a free one."""

    expected: str = "`auto` or a port number from 1 to 65535"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID:
            return INVALID
        if text == "auto":
            return 0
        if not re.fullmatch("[1-9][0-9]{0,4}", text) or int(text) > 65535:
            return reading.refuse(node, key, self, closest(text, ["auto"]))
        return int(text)

    def schema(self) -> Json:
        number = {"type": "integer", "minimum": 1, "maximum": 65535}
        return {"anyOf": [{"const": "auto"}, number, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Failure:
    """What may end a body: the name of an exception type, or an exit code; both as text."""

    expected: str = "an exception type such as `ValueError`, or an exit code from 1 to 255"
    types: ClassVar[str] = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        text = _scalar_text(node, key, reading, self)
        if text is INVALID or re.fullmatch(self.types, text, re.ASCII):
            return text
        if re.fullmatch("[1-9][0-9]{0,2}", text, re.ASCII) and int(text) <= 255:
            return text
        return reading.refuse(node, key, self)

    def schema(self) -> Json:
        code = {"type": "integer", "minimum": 1, "maximum": 255}
        exception = {"type": "string", "pattern": f"^{self.types}$"}
        return {"anyOf": [exception, code, VARIABLE_SCHEMA]}


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value that JSON can hold; plain texts are numbers only where that is certain."""

    expected: str = "any value"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        match node:
            case Table():
                entries = node.entries.items()
                return {k: self.read(e.value, f"{key}.{k}", reading) for k, e in entries}
            case Items():
                return [self.read(v, f"{key}[{i}]", reading) for i, v in enumerate(node.items)]
            case Scalar():
                return self._scalar(node, key, reading)

    def _scalar(self, node: Scalar, key: str, reading: Reading) -> Any:
        text = reading.text(node, key)
        if text is INVALID or not node.plain:
            return text
        try:
            return plain_value(text)
        except AmbiguousError as error:
            # A text that came from the environment is not repeated: it may be a secret.
            from_outside = not node.literal and has_variables(node.text)
            hint = f'`"{node.text}"`' if from_outside else error.suggestion
            message = "readers of YAML disagree on what this means"
            return reading.error(node, key, message, found=describe(node), suggestion=hint)

    def schema(self) -> Json:
        return {}


def ticked(suggestion: str) -> str:
    """Return a suggestion as a message shows it, nothing as nothing."""
    return f"`{suggestion}`" if suggestion else ""
