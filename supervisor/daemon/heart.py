"""The heart: starts one daemon and starts it again whenever it dies. It knows nothing else.

It must stay too small to fail: the standard library's core only, no Ray, no database, no thread.
All its signals are blocked and taken one at a time by `sigwait`, so there is no handler and no
race; the daemon inherits the blocked mask, so a signal that comes before the daemon is ready for
it waits instead of killing it. Read next: `service.py` (what is kept alive), `cli/launch.py`
(who starts the heart).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ENDED = 0
"""The pipeline went down as asked."""
FAILED = 5
"""The pipeline gave up and was told to end then (the same number as `errors.EXIT_GAVE_UP`)."""
REFUSED = 70
"""The daemon could not begin, said why to the launcher, and would fail the same way again."""
LOST = 71
"""Another daemon owns the pipeline now."""
AGAIN = 72
"""The daemon ended itself because a fresh process is the cure (store or Ray unreachable)."""

FINAL = frozenset({ENDED, FAILED, REFUSED, LOST})
"""Exit codes after which the heart stops; every other end of the daemon is a death."""

FORWARDED = frozenset({signal.SIGTERM, signal.SIGINT})
WATCHED = FORWARDED | {signal.SIGCHLD, signal.SIGHUP}


@dataclass(slots=True)
class Rhythm:
    """How long to wait before the next life, and when to stop trying.

    The first death is answered at once: it is most likely a lone SIGKILL. Deaths in a row, each
    after a short life, wait longer and longer.

    >>> rhythm = Rhythm(first_delay_s=0.5, max_delay_s=1.0, most_short_lives=4)
    >>> [rhythm.delay_s(lived_s=1.0) for _ in range(5)]
    [0.0, 0.5, 1.0, 1.0, None]
    >>> rhythm.delay_s(lived_s=3600.0)
    0.0
    """

    short_life_s: float = 30.0
    first_delay_s: float = 0.5
    max_delay_s: float = 15.0
    most_short_lives: int = 10
    short_lives: int = 0

    def delay_s(self, lived_s: float) -> float | None:
        """Return the pause before the next life, or None when it is time to give up."""
        if lived_s >= self.short_life_s:
            self.short_lives = 0
            return 0.0
        self.short_lives += 1
        if self.short_lives > self.most_short_lives:
            return None
        if self.short_lives == 1:
            return 0.0
        return min(self.max_delay_s, self.first_delay_s * 2.0 ** (self.short_lives - 2))


def say(text: str) -> None:
    """Write one line where the daemon's log goes."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{stamp} heart[{os.getpid()}] {text}", file=sys.stderr, flush=True)  # noqa: T201


def keep_alive(spawn: Callable[[], subprocess.Popen[bytes]], rhythm: Rhythm) -> int:
    """Run daemon after daemon until one ends with a final code; return that code.

    Args:
        spawn: starts one daemon; called with all of `WATCHED` blocked.
        rhythm: how long to wait between two lives.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would eat the exit codes
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    asked: int | None = None
    while True:
        born_s = time.monotonic()
        daemon = spawn()
        if asked is not None:
            daemon.send_signal(asked)
        code, asked = _await_end(daemon, asked)
        if code in FINAL:
            return code
        delay_s = rhythm.delay_s(time.monotonic() - born_s)
        if delay_s is None:
            say(f"the daemon died again ({_how(code)}); giving up after too many short lives")
            return 1
        say(f"the daemon died ({_how(code)}); starting it again in {delay_s:g} s")
        asked = _rest(delay_s, asked)


def _await_end(daemon: subprocess.Popen[bytes], asked: int | None) -> tuple[int, int | None]:
    """Forward signals until the daemon has ended; return its exit code and the last signal.

    A daemon that dies has not done what it was asked: the next one is asked again.
    """
    while (code := daemon.poll()) is None:
        caught = signal.sigwait(WATCHED)
        if caught in FORWARDED:
            asked = caught
            daemon.send_signal(caught)
    return code, asked


def _rest(delay_s: float, asked: int | None) -> int | None:
    """Wait; a signal meant for the daemon ends the wait."""
    caught = signal.sigtimedwait(FORWARDED, delay_s)
    return asked if caught is None else caught.si_signo


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def name_process(name: str) -> None:
    """Give this process a name of its own in `ps` and `top` (at most 15 characters)."""
    with open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123 - no import for it
        comm.write(name)


def end_with_parent(signal_number: int) -> None:
    """Ask the kernel for that signal when the process that started this one ends."""
    import ctypes

    set_parent_death_signal = 1
    if ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal_number) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG was refused")


def main(arguments: Sequence[str]) -> int:
    """Keep `supervisor.daemon.service` alive with these arguments.

    Args:
        arguments: PIPELINE and HOME (only for a person who reads `ps`), the descriptors of the
            parcel and of the progress pipe, and `foreground` or `background`. A heart in the
            foreground drains when its launcher is gone, whatever ended the launcher.
    """
    _pipeline, _home, parcel, progress, place = arguments
    command = [sys.executable, "-m", "supervisor.daemon.service", *arguments[:4]]
    name_process("psup-heart")
    if place == "foreground":
        end_with_parent(signal.SIGTERM)

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(int(parcel), int(progress))
        )

    return keep_alive(spawn, Rhythm())
