"""Puts words on the screen: colours for a terminal, plain text for everything else.

Decides how text stands, never which text. Colour is never the only carrier of a meaning: the word
is there too. What goes into a pipe or a file has no escape sequence and is never cut.
Read next: `tree.py` (the one screen with a layout of its own).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TextIO

from supervisor.cli.words import shorten

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bright_red": "91",
}
STATE_COLOURS: Mapping[str, str] = {
    "running": "green",
    "done": "dim",
    "stopped": "dim",
    "pending": "dim",
    "dropped": "dim",
    "waiting": "cyan",
    "starting": "cyan",
    "restarting": "yellow",
    "stopping": "yellow",
    "killing": "yellow",
    "backoff": "yellow",
    "degraded": "yellow",
    "failed": "red",
    "gave_up": "red",
    "not running": "red",
}
PREFIX_COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "red")
GAP = "  "
NOTHING = "–"  # noqa: RUF001 - a dash as people print it


class Terminal(NamedTuple):
    """What the reader of our output can show.

    Args:
        colour: escape sequences are understood and wanted.
        width: columns, None when nothing may be cut (a pipe, a file).
        height: lines, None when nobody scrolls.
    """

    colour: bool
    width: int | None
    height: int | None

    def paint(self, text: str, style: str) -> str:
        """Return the text in that style, or as it is."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and style and text else text

    def state(self, word: str) -> str:
        """Return a state in its colour."""
        return self.paint(word, STATE_COLOURS.get(word, ""))


def terminal(stream: TextIO | None = None) -> Terminal:
    """Look at a stream, stdout unless said.

    `NO_COLOR` (any value) takes the colours away, `FORCE_COLOR` gives them to a pipe as well.
    """
    stream = stream or sys.stdout
    is_terminal = stream.isatty()
    wanted = is_terminal and os.environ.get("TERM") != "dumb"
    colour = bool(os.environ.get("FORCE_COLOR")) or wanted
    if os.environ.get("NO_COLOR"):
        colour = False
    if not is_terminal:
        return Terminal(colour, None, None)
    width, height = _extent(stream)
    return Terminal(colour, width, height)


def _extent(stream: TextIO) -> tuple[int, int]:
    """Return columns and lines; `COLUMNS` wins, as everywhere."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((80, 24))
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() else size.columns
    return width or 80, size.lines or 24


class Cell(NamedTuple):
    """One cell of a table: the words count for the width, the styles do not.

    Args:
        text: what it says.
        style: how the text is painted.
        tail: more words after the text, always dim.
    """

    text: str
    style: str = ""
    tail: str = ""

    @property
    def width(self) -> int:
        """How many columns it takes."""
        return len(self.text) + len(self.tail)

    def cut(self, width: int) -> Cell:
        """Return the cell in at most that many columns; a cut shows."""
        if self.width <= width:
            return self
        text = shorten(self.text, width)
        room = width - len(text)
        return Cell(text, self.style, shorten(self.tail, room) if room > 0 else "")


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]], screen: Terminal) -> list[str]:
    """Return aligned lines; a column is as wide as its widest cell, the last is cut to fit."""
    widths = [
        max([len(title), *(row[column].width for row in rows)])
        for column, title in enumerate(header)
    ]
    head = [Cell(title, "bold") for title in header]
    return [_table_line(cells, widths, screen) for cells in (head, *rows)]


def _table_line(cells: Sequence[Cell], widths: Sequence[int], screen: Terminal) -> str:
    parts: list[str] = []
    used = 0
    for cell, width in zip(cells, widths, strict=True):
        is_last = len(parts) == len(cells) - 1
        fitting = cell
        if is_last and screen.width is not None:
            fitting = cell.cut(max(1, screen.width - used))
        words = screen.paint(fitting.text, cell.style) + screen.paint(fitting.tail, "dim")
        parts.append(words if is_last else f"{words}{' ' * (width - cell.width)}{GAP}")
        used += width + len(GAP)
    return "".join(parts).rstrip()


def fields(pairs: Iterable[tuple[str, str]], indent: str = "") -> list[str]:
    """Return `name  value` lines with the values in one column; values may have several lines."""
    known = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in known), default=0)
    lines: list[str] = []
    for name, value in known:
        first, *more = value.split("\n")
        lines.append(f"{indent}{name:<{width}}{GAP}{first}")
        lines.extend(f"{indent}{'':<{width}}{GAP}{line}" for line in more)
    return lines


def write(lines: Iterable[str]) -> None:
    """Write lines of data to stdout at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def say(text: str) -> None:
    """Write a line of talk to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
