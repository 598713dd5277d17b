"""Draws a screen again and again without flicker, and leaves the terminal as it was.

A frame is one write: cursor home, every line cleared behind its end, the rest of the screen
cleared. It is drawn on the terminal's second screen, so the scroll-back stays as it was; the last
frame remains on the first screen at the end. Where there is no terminal, a frame is written when
something was saved that changed it. Read next: `tree.py`.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from supervisor.cli.render import Terminal, terminal

_CHECK_S = 0.1
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_BEGIN_FRAME = "\x1b[?2026h\x1b[H"
_END_FRAME = "\x1b[J\x1b[?2026l"
_CLEAR_REST_OF_LINE = "\x1b[K"


def watch(
    draw: Callable[[Terminal], list[str]], changed: Callable[[], bool], interval_s: float
) -> NoReturn:
    """Draw until Ctrl-C.

    Args:
        draw: returns the lines of a frame for that terminal.
        changed: whether a new frame is worth drawing before the interval is over; cheap.
        interval_s: seconds between two frames when nothing changes (ages go on).
    """
    if sys.stdout.isatty():
        _on_terminal(draw, changed, interval_s)
    else:
        _in_pipe(draw, changed)
    raise AssertionError("a watch ends with an interrupt")


def _on_terminal(
    draw: Callable[[Terminal], list[str]], changed: Callable[[], bool], interval_s: float
) -> None:
    lines: list[str] = []
    try:
        with _second_screen():
            while True:
                screen = terminal()
                lines = draw(screen)
                _write_frame(lines, screen)
                _wait(changed, interval_s)
    finally:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def _in_pipe(draw: Callable[[Terminal], list[str]], changed: Callable[[], bool]) -> None:
    before: list[str] = []
    while True:
        lines = draw(terminal())
        if lines != before:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
        before = lines
        while not changed():
            time.sleep(_CHECK_S)


@contextmanager
def _second_screen() -> Iterator[None]:
    previous = signal.signal(signal.SIGTERM, _end)
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, previous)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that the terminal is given back."""
    sys.exit(128 + number)


def fitting(lines: list[str], screen: Terminal) -> list[str]:
    """Return the lines that fit on the screen; what does not is counted on the last."""
    if screen.height is None or len(lines) <= screen.height:
        return lines
    hidden = len(lines) - screen.height + 1
    return [*lines[: screen.height - 1], f"… {hidden} more lines"]


def _write_frame(lines: list[str], screen: Terminal) -> None:
    body = "\n".join(line + _CLEAR_REST_OF_LINE for line in fitting(lines, screen))
    sys.stdout.write(f"{_BEGIN_FRAME}{body}{_END_FRAME}")
    sys.stdout.flush()


def _wait(changed: Callable[[], bool], interval_s: float) -> None:
    end_s = time.monotonic() + interval_s
    while (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(_CHECK_S, left_s))
        if changed():
            return
