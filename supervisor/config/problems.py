"""What is wrong with a pipeline file, where, and how it was probably meant.

Decides how problems are collected and written: all of them at once, in the order in which a person
meets them in the file. It never stops at the first one, and it never shows a value that came from
the environment, which may be a secret.
Read next: `pipeline.py` (who collects them), `shapes.py` (who finds most of them).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from supervisor.errors import SpecError

_FOUND_LENGTH = 60


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file, counted from 1 as editors do; line 0 where there are none (`--set`)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change.

    Args:
        mark: where it stands.
        key: path of the key from the top of its file, `children.train.quota.memory`.
        message: what is wrong.
        found: what is written there, as written.
        allowed: what may stand there.
        suggestion: what was probably meant.
    """

    mark: Mark
    key: str
    message: str
    found: str = ""
    allowed: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        """Write it as compilers do: `file:line:column: key.path: message (details)`."""
        details = []
        if self.found:
            details.append(f"found {self.found}")
        if self.allowed:
            details.append(f"expected {self.allowed}")
        inner = ", ".join(details)
        if self.suggestion:
            inner += ("; " if inner else "") + f"did you mean {self.suggestion}?"
        where = f"{self.mark}: {self.key}: " if self.key else f"{self.mark}: "
        return f"{where}{self.message}" + (f" ({inner})" if inner else "")

    def as_json(self) -> dict[str, Any]:
        """Return the documented shape of `validate --json`; unknown parts are null."""
        return {
            "file": self.mark.file,
            "line": self.mark.line or None,
            "column": self.mark.column or None,
            "key": self.key,
            "message": self.message,
            "found": self.found or None,
            "expected": self.allowed or None,
            "suggestion": self.suggestion or None,
        }


class InvalidPipeline(SpecError):
    """A pipeline cannot be launched as it is written; carries every problem that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{self.summary}:", *map(str, problems)]))

    @property
    def summary(self) -> str:
        """Return how many problems there are, as the end or the head of a list of them."""
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return f"the pipeline cannot be launched, {count}"


@dataclass(slots=True)
class Findings:
    """Where the readers put what they find; the same remark about the same place counts once."""

    _errors: dict[tuple[Mark, str], Problem] = field(default_factory=dict)
    _warnings: dict[tuple[Mark, str], Problem] = field(default_factory=dict)

    def error(self, problem: Problem) -> None:
        """Note something that must be changed."""
        self._errors.setdefault((problem.mark, problem.message), problem)

    def warn(self, problem: Problem) -> None:
        """Note something that is allowed and probably not meant."""
        self._warnings.setdefault((problem.mark, problem.message), problem)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the errors, file by file in the order of discovery, top to bottom in each."""
        return _in_reading_order(self._errors.values())

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return the warnings in the same order."""
        return _in_reading_order(self._warnings.values())

    def raise_errors(self) -> None:
        """Raise InvalidPipeline if there is any error."""
        if self._errors:
            raise InvalidPipeline(self.errors)


def _in_reading_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    listed = list(problems)
    rank: dict[str, int] = {}
    for problem in listed:
        rank.setdefault(problem.mark.file, len(rank))
    return tuple(sorted(listed, key=lambda p: (rank[p.mark.file], p.mark.line, p.mark.column)))


def shown(text: str) -> str:
    r"""Return a text as it may stand inside a one-line message.

    >>> shown("2")
    '`2`'
    >>> shown("two\nlines")
    '`two\\nlines`'
    """
    escaped = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    if len(escaped) > _FOUND_LENGTH:
        escaped = escaped[: _FOUND_LENGTH - 1] + "…"
    return f"`{escaped}`"


def listed(words: Iterable[str]) -> str:
    """Return words as a list that a person reads.

    >>> listed(["task", "service"])
    '`task` or `service`'
    >>> listed(["a", "b", "c"])
    '`a`, `b` or `c`'
    """
    *first, last = [f"`{word}`" for word in words] or [""]
    return f"{', '.join(first)} or {last}" if first else last


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, or "".

    >>> closest("memroy", ["memory", "cpu"])
    'memory'
    >>> closest("Permanent", ["permanent", "temporary"])
    'permanent'
    >>> closest("xyz", ["memory", "cpu"])
    ''
    """
    by_lower = {name.lower().replace("-", "_"): name for name in known}
    wanted = word[:100].lower().replace("-", "_")
    found = difflib.get_close_matches(wanted, by_lower, n=1)
    return by_lower[found[0]] if found else ""
