"""Turns stored numbers and codes into the words a person reads, and a person's spans into seconds.

Decides how a quantity looks, and nothing else: no database, no terminal, no clock. Standard
library only and cheap to import, because every read command starts here.
Read next: `picture.py` (which facts are shown), `render.py` (where they stand on the screen).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

_SIZE_UNITS = ("B", "K", "M", "G", "T", "P")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
# Compiled when first used: most screens need none of them, and every screen pays for imports.
_SPAN_PART = r"(\d+(?:\.\d+)?)(ms|[smhdw])"
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_ANSI = r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"

_SEGMENT_STATES = {
    "idle": "pending",
    "waiting": "waiting",
    "starting": "starting",
    "running": "running",
    "stopping": "stopping",
    "killing": "killing",
    "backing_off": "backoff",
}
_SUPERVISOR_STATES = {
    "down": "pending",
    "bringing_up": "starting",
    "up": "running",
    "recycling": "restarting",
    "going_down": "stopping",
    "supervisor_backing_off": "backoff",
}
_RESTING_PHASES = ("idle", "down")
_ENDED_PHASES = ("ended", "supervisor_ended")
_ENDINGS = {"completed": "done"}


def state_word(state: Json) -> str:
    """Return the word shown for an encoded node state; `degraded` is computed elsewhere.

    >>> state_word({"phase": "backing_off"}), state_word({"phase": "idle", "wanted": False})
    ('backoff', 'stopped')
    >>> state_word({"phase": "ended", "how": "completed"}), state_word({"phase": "up"})
    ('done', 'running')
    """
    phase = state["phase"]
    if phase in _ENDED_PHASES:
        how = str(state["how"])
        return _ENDINGS.get(how, how)
    if phase in _RESTING_PHASES and not state.get("wanted", True):
        return "stopped"
    return _SEGMENT_STATES.get(phase) or _SUPERVISOR_STATES.get(phase, str(phase))


def size(amount_bytes: float) -> str:
    """Return a size in powers of 1024, at most four characters wide.

    >>> size(1024**3), size(212 * 1024**2), size(700), size(1.5 * 1024**3), size(0)
    ('1.0G', '212M', '700B', '1.5G', '0B')
    """
    value = float(amount_bytes)
    unit = 0
    while value >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        value /= 1024
        unit += 1
    digits = 1 if unit and value < 9.95 else 0
    return f"{value:.{digits}f}{_SIZE_UNITS[unit]}"


def age(seconds: float) -> str:
    """Return how long something lasts already, rounded down to its largest unit.

    >>> age(8.9), age(119), age(7300), age(200000), age(-3)
    ('8s', '1m', '2h', '2d', '0s')
    """
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 172800:
        return f"{whole // 3600}h"
    return f"{whole // 86400}d"


def countdown(seconds: float) -> str:
    """Return how long until something happens, rounded up so that it never says 0s too early.

    >>> countdown(7.2), countdown(95), countdown(3600), countdown(5400), countdown(-1)
    ('8s', '1m35s', '1h', '1h30m', '0s')
    """
    whole = max(0, int(-(-seconds // 1)))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return _two_units(whole, 60, "m", 1, "s")
    if whole < 172800:
        return _two_units(whole, 3600, "h", 60, "m")
    return _two_units(whole, 86400, "d", 3600, "h")


def _two_units(whole_s: int, large_s: int, large: str, small_s: int, small: str) -> str:
    rest = whole_s % large_s // small_s
    return f"{whole_s // large_s}{large}" + (f"{rest}{small}" if rest else "")


def span(seconds: float) -> str:
    """Return a configured length as somebody would have written it.

    >>> span(60), span(3600), span(90), span(300), span(0.5), span(86400)
    ('60s', '1h', '90s', '5m', '0.5s', '1d')
    """
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length_s and seconds % length_s == 0 and (seconds, unit) != (60, "m"):
            return f"{int(seconds // length_s)}{unit}"
    return f"{seconds:g}s"


def parse_span(text: str) -> float | None:
    """Return the seconds of `90s`, `1h30m` or `2d`; None when the text is no length of time.

    >>> parse_span("90s"), parse_span("1h30m"), parse_span("10"), parse_span("soon")
    (90.0, 5400.0, None, None)
    """
    parts = re.findall(_SPAN_PART, text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def exit_text(last_exit: Json) -> str:
    """Return an encoded exit reason as one line.

    >>> exit_text({"kind": "error", "detail": "ValueError: x"}), exit_text({"kind": "oom"})
    ('error(ValueError: x)', 'oom')
    """
    kind, detail = str(last_exit["kind"]), one_line(str(last_exit.get("detail") or ""))
    return f"{kind}({detail})" if detail else kind


def restarts_text(restarts: Json) -> str:
    """Return the cell of the RESTARTS column: used, allowed and the window, or the plain count.

    >>> restarts_text({"used": 3, "allowed": 5, "window_s": 3600.0, "count": 9})
    '3/5 1h'
    >>> restarts_text({"used": 0, "allowed": 5, "window_s": 60.0, "count": 2})
    '2'
    """
    if not restarts["used"]:
        return str(restarts["count"])
    window_s = restarts["window_s"]
    ratio = f"{restarts['used']}/{restarts['allowed']}"
    return f"{ratio} {span(window_s)}" if window_s is not None else ratio


def one_line(text: str) -> str:
    r"""Return the first line without control characters, so that no text can move the cursor.

    >>> one_line("epoch 3\x1b[2J of 9\nand more")
    'epoch 3 of 9'
    """
    return printable(text.strip().partition("\n")[0])


def printable(text: str) -> str:
    """Return the text without escape sequences and control characters; tabs and newlines stay."""
    return text if text.isprintable() else re.sub(_UNPRINTABLE, "", re.sub(_ANSI, "", text))


def shorten(text: str, width: int) -> str:
    """Cut the text to that many characters; a cut shows.

    >>> shorten("completed", 6), shorten("ok", 6)
    ('compl…', 'ok')
    """
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def listing(words: list[str], last: str = "and") -> str:
    """Join words as a sentence does.

    >>> listing(["a"]), listing(["a", "b", "c"]), listing(["a", "b"], last="or")
    ('a', 'a, b and c', 'a or b')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def count(number: int, thing: str) -> str:
    """Return a number with its noun.

    >>> count(1, "segment"), count(3, "process")
    ('1 segment', '3 processes')
    """
    plural = thing + ("es" if thing.endswith("s") else "s")
    return f"{number} {thing if number == 1 else plural}"


def tame(text: str, *, colour: bool) -> str:
    r"""Return a line of somebody's output that changes nothing but colours, if that.

    >>> tame("\x1b[31mred\x1b[0m\x1b[2J\r", colour=True) == "\x1b[31mred\x1b[0m"
    True
    """
    if not colour:
        return printable(text)
    parts = re.split(r"(\x1b\[[0-9;]*m)", text)
    return "".join(part if index % 2 else printable(part) for index, part in enumerate(parts))


def did_you_mean(typed: str, names: Sequence[str]) -> str:
    """Return the words that propose the nearest names, "" when none is near.

    >>> did_you_mean("tre", ["tree", "why"]), did_you_mean("x", ["tree"])
    ('; did you mean tree?', '')
    """
    from difflib import get_close_matches  # only mistakes need it

    near = list(dict.fromkeys(get_close_matches(typed, names, n=3, cutoff=0.6)))
    return f"; did you mean {listing(near, last='or')}?" if near else ""
