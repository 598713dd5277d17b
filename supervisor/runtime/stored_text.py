"""Text and numbers as every store holds them, whatever a body has said.

Exception messages, statuses and progress come from users' code: half a character, a NaN, an
infinity. None of these may make a daemon fail to save, and none may make a file that other tools
cannot read. Strict about our own mistakes all the same: what is no JSON at all is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from supervisor.errors import StoreError


def to_json(value: Mapping[str, Any]) -> str:
    r"""Return JSON that every reader accepts; NaN and infinities become null.

    Raises:
        StoreError: something inside has no JSON form; a bug of ours.

    >>> to_json({"progress": [float("nan"), 10], "said": "\ud800"})
    '{"progress":[null,10],"said":"\\ud800"}'
    """
    try:
        try:
            text = _ENCODER.encode(value)
        except ValueError:
            text = _ENCODER.encode(_finite(value))
    except TypeError as error:
        raise StoreError(f"cannot store {value!r}: {error}", hint="please report this") from error
    return clean(text)


def clean(text: str) -> str:
    r"""Return the text with halves of surrogate pairs written as escapes.

    >>> clean("caf\u00e9 \udcff") == "caf\u00e9 \\udcff"
    True
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def clean_or_none(text: str | None) -> str | None:
    """Return `clean(text)`, or None for None."""
    return None if text is None else clean(text)


def finite(number: float | None) -> float | None:
    """Return the number, or None when it is NaN or infinite.

    >>> finite(2.5), finite(float("inf"))
    (2.5, None)
    """
    return number if number is not None and math.isfinite(number) else None


def _plain(value: object) -> object:
    """Offer a dict for the read-only mappings that the frozen dataclasses hold."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    match value:
        case float():
            return finite(value)
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


_ENCODER = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
)
