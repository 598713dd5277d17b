"""Notices are numbered, kept until their life is over and saved, and measurements only newest."""

from __future__ import annotations

import time
from queue import SimpleQueue
from threading import Thread

import pytest

from supervisor.cell.outbox import Outbox
from supervisor.core.events import Exited, ExitKind, ExitReason, Ready, Started

DONE = ExitReason(ExitKind.COMPLETED)


def numbers(outbox: Outbox, after: int = 0) -> list[int]:
    return [notice["n"] for notice in outbox.watch(after)]


def test_only_the_newest_measurement_is_kept() -> None:
    """Measurements replace each other; events stay."""
    outbox = Outbox()
    outbox.tell(Started("p/a", 1, 10), {})
    outbox.measure(1, {"memory_bytes": 1})
    outbox.measure(1, {"memory_bytes": 2})
    first, second = outbox.watch(0)
    assert first["event"]["type"] == "Started"
    assert second == {"n": 3, "event": None, "incarnation": 1, "evidence": {"memory_bytes": 2}}


def test_watch_returns_only_what_is_new() -> None:
    """Numbers grow by one per notice and are never used again."""
    outbox = Outbox()
    outbox.tell(Started("p/a", 1, 10), {})
    outbox.tell(Ready("p/a", 1), {})
    assert numbers(outbox) == [1, 2]
    assert numbers(outbox, after=1) == [2]


def test_a_saved_end_forgets_its_life_only() -> None:
    """Two ended lives are told apart; the unsaved one stays."""
    outbox = Outbox()
    outbox.tell(Started("p/a", 1, 10), {})
    outbox.tell(Exited("p/a", 1, DONE), {})
    outbox.tell(Started("p/a", 2, 11), {})
    outbox.tell(Exited("p/a", 2, DONE), {})
    outbox.saved(3)
    assert numbers(outbox) == [3, 4]


def test_a_measurement_does_not_outlive_its_life() -> None:
    """After the end nobody reads what was used."""
    outbox = Outbox()
    outbox.measure(1, {})
    outbox.tell(Exited("p/a", 1, DONE), {})
    assert numbers(outbox) == [2]


def test_only_the_newest_watcher_waits() -> None:
    """The watch of a dead daemon does not hold a thread for ever, nor take what is not for it."""
    outbox, heard = Outbox(), SimpleQueue()
    threads = []
    for name in ("older", "newer"):
        threads.append(Thread(target=lambda name=name: heard.put((name, outbox.watch(0)))))
        threads[-1].start()
        while outbox._watcher < len(threads):
            time.sleep(0.001)  # until it stands in line
    assert heard.get(timeout=30) == ("older", [])
    outbox.tell(Ready("p/a", 1), {})
    name, notices = heard.get(timeout=30)
    assert (name, len(notices)) == ("newer", 1)
    for thread in threads:
        thread.join()


def test_a_broken_cell_fails_its_watchers() -> None:
    """Nobody may wait for ever on a cell whose thread is gone."""
    outbox = Outbox()
    outbox.break_off(KeyError("what nobody expected"))
    with pytest.raises(RuntimeError, match="broken") as caught:
        outbox.watch(0)
    assert isinstance(caught.value.__cause__, KeyError)
