"""What a plain text means where a value may be of any type, and what `${VAR}` stands for.

Decides two things. First: a text without quotes is a number, a truth value or null only where
every YAML reader agrees on it and writing it back gives the same text; `on`, `1:30`, `010`, `1e3`,
`3.10` and dates mean different things to different readers, so they are refused with both ways to
write them. Second: how variables of the environment are put into texts. Keys that know their own
type (`90s`, `env:` values) never come here for a meaning: there the text is the value.
Read next: `shapes.py` (who asks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_AGREED_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL"), None),
}
_AGREED_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,299})", re.ASCII)
_AGREED_FLOAT = re.compile(
    r"-?(?:0|[1-9][0-9]{0,299})?\.(?:[0-9]|[0-9]{1,299}[1-9])(?:[eE][-+][0-9]{1,3})?", re.ASCII
)

_TRUE_TO_SOME = frozenset({"y", "yes", "on"})
_FALSE_TO_SOME = frozenset({"n", "no", "off"})
_NUMBER_TO_SOME = re.compile(
    r"""[-+]?(?:
          [0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?   # 010  1_000  1e3  3.10  5.
        | \.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?                    # .50
        | 0[xX][0-9a-fA-F_]+ | 0[oO][0-7_]+ | 0[bB][01_]+  # 0x1F  0o17  0b11
        | [0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?      # 1:30
        | \.(?:inf|Inf|INF)
        )
      | \.(?:nan|NaN|NAN)""",
    re.VERBOSE | re.ASCII,
)
_TIME_TO_SOME = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?", re.ASCII)

_VARIABLE = re.compile(
    r"""\$(?:
          (?P<escaped>\$)
        | \{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:[^}$]|\$(?!\{))*))?\}
        | (?P<broken>\{[^}]*\}?)
        | (?P<bare>[A-Za-z_][A-Za-z0-9_]*)
        )""",
    re.VERBOSE | re.ASCII,
)


class AmbiguousError(ValueError):
    """A plain text that readers of YAML take for different things.

    Args:
        text: the text.
        meant: how to write the value that some readers see in it; empty if there is none.
    """

    def __init__(self, text: str, meant: str = "") -> None:
        super().__init__(text)
        self.meant = meant

    @property
    def suggestion(self) -> str:
        """Return how to write it so that all readers agree."""
        quoted = f'`"{self.args[0]}"` for the text'
        return f"{quoted}, or `{self.meant}`" if self.meant else quoted


class VariableError(ValueError):
    """A `${...}` that cannot be replaced: not set, or not written as it should be.

    Args:
        message: why not.
        suggestion: how to write it instead.
    """

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


def plain_value(text: str) -> str | int | float | bool | None:
    """Return what a text without quotes means.

    >>> [plain_value(text) for text in ("3", "0.5", "1.0e-4", "true", "null", "adam", "4GiB")]
    [3, 0.5, 0.0001, True, None, 'adam', '4GiB']
    >>> for text in ("on", "1:30", "010", "1e3", "1_000", "2024-01-31", "~", "3.10", ".inf"):
    ...     try: plain_value(text)
    ...     except AmbiguousError as error: print(error.suggestion)
    `"on"` for the text, or `true`
    `"1:30"` for the text
    `"010"` for the text, or `10`
    `"1e3"` for the text, or `1000.0`
    `"1_000"` for the text, or `1000`
    `"2024-01-31"` for the text
    `"~"` for the text, or `null`
    `"3.10"` for the text, or `3.1`
    `".inf"` for the text

    Raises:
        AmbiguousError: readers disagree on it.
    """
    if text in _AGREED_WORDS:
        return _AGREED_WORDS[text]
    if _AGREED_INTEGER.fullmatch(text):
        return int(text)
    if _AGREED_FLOAT.fullmatch(text) and abs(float(text)) < float("inf"):
        return float(text)
    if text in {"", "~"}:
        raise AmbiguousError(text, "null")
    if text.lower() in _TRUE_TO_SOME:
        raise AmbiguousError(text, "true")
    if text.lower() in _FALSE_TO_SOME:
        raise AmbiguousError(text, "false")
    if _NUMBER_TO_SOME.fullmatch(text):
        raise AmbiguousError(text, _as_agreed_number(text))
    if _TIME_TO_SOME.fullmatch(text):
        raise AmbiguousError(text)
    return text


def is_nothing(text: str) -> bool:
    """Tell whether a text without quotes means "no value" to some reader.

    >>> [is_nothing(text) for text in ("", "~", "null", "none")]
    [True, True, True, False]
    """
    return text in {"", "~"} or (text in _AGREED_WORDS and _AGREED_WORDS[text] is None)


def substitute(text: str, environment: Mapping[str, str]) -> str:
    """Replace `${VAR}`, `${VAR:-default}` and `$$` in a text.

    The default holds when the variable is unset or empty, as in a shell. A dollar sign that starts
    none of these stands for itself.

    >>> substitute("${HOME}/data costs $$5 ${N:-3}", {"HOME": "/home/a"})
    '/home/a/data costs $5 3'
    >>> substitute("^a$ $5", {})
    '^a$ $5'
    >>> substitute("${MISSING}", {})
    Traceback (most recent call last):
    supervisor.config.scalars.VariableError: the variable MISSING is not set

    Raises:
        VariableError: a variable is not set, or a `${` does not have one of these forms.
    """

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["bare"]:
            return match[0]
        if match["broken"]:
            message = "`${` starts neither `${VAR}` nor `${VAR:-default}`"
            raise VariableError(message, "`$${` for the text `${`")
        name, default = match["name"], match["default"]
        found = environment.get(name)
        if default is not None:
            found = found or default.replace("$$", "$")
        if found is None:
            raise VariableError(f"the variable {name} is not set", f"`${{{name}:-default}}`")
        if not found.isascii() and re.search("[\ud800-\udfff]", found):
            raise VariableError(f"the variable {name} is not UTF-8 text")
        return found

    return _VARIABLE.sub(value, text)


def bare_variables(text: str) -> tuple[str, ...]:
    """Return the names that look like variables and are not replaced: `$HOME`.

    >>> bare_variables("$HOME/${USER}/$$PATH ^end$")
    ('HOME',)
    """
    return tuple(match["bare"] for match in _VARIABLE.finditer(text) if match["bare"])


def has_variables(text: str) -> bool:
    """Tell whether the text asks for the environment.

    >>> has_variables("${N}"), has_variables("$$5")
    (True, False)
    """
    return any(match["name"] or match["broken"] for match in _VARIABLE.finditer(text))


def _as_agreed_number(text: str) -> str:
    """Write a number that only some readers see so that all of them do; "" if it is no decimal."""
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?[0-9]{1,18}", digits, re.ASCII):
        return str(int(digits))
    if re.fullmatch(r"[-+]?[0-9]*\.?[0-9]*(?:[eE][-+]?[0-9]{1,3})?", digits, re.ASCII):
        number = float(digits)
        written = repr(number).replace("e", ".0e") if "." not in repr(number) else repr(number)
        return written if abs(number) < float("inf") else ""
    return ""
