"""The keeper: calls in order, alarms at their time, and a crash that is not silent."""

from __future__ import annotations

import os
import queue

import pytest

from supervisor.cell.keeper import Alarms, Keeper


@pytest.fixture
def crashes() -> list[BaseException]:
    return []


@pytest.fixture
def keeper(crashes: list[BaseException]):
    made = Keeper("test", crashes.append)
    yield made
    made.close()


def test_alarms_ring_once_and_in_time(keeper: Keeper) -> None:
    """An alarm set from a posted call rings in the keeper's thread."""
    rung: queue.Queue[str] = queue.Queue()
    keeper.post(lambda: keeper.alarms.set("b", 0.02, lambda: rung.put("b")))
    keeper.post(lambda: keeper.alarms.set("a", 0.0, lambda: rung.put("a")))
    assert [rung.get(timeout=30), rung.get(timeout=30)] == ["a", "b"]
    assert rung.empty()


def test_an_alarm_can_be_replaced_cleared_and_brought_forward() -> None:
    """One name is one alarm; bringing forward never delays and never invents one."""
    alarms, rung = Alarms(), []
    alarms.set("x", 0.0, lambda: rung.append("old"))
    alarms.set("x", 0.0, lambda: rung.append("new"))
    alarms.set("gone", 0.0, lambda: rung.append("gone"))
    alarms.clear("gone")
    alarms.set("far", 1000.0, lambda: rung.append("far"))
    alarms.bring_forward("far", 0.0)
    alarms.bring_forward("unknown", 0.0)
    alarms.ring()
    assert sorted(rung) == ["far", "new"]
    assert alarms.wait_ms() is None


def test_an_alarm_that_clears_others_is_obeyed() -> None:
    """The end of a life clears what was due in the same moment."""
    alarms, rung = Alarms(), []
    alarms.set("end", 0.0, lambda: (rung.append("end"), alarms.clear()))
    alarms.set("later", 0.0, lambda: rung.append("later"))
    alarms.ring()
    assert rung == ["end"]


def test_descriptors_are_served_in_the_order_of_their_adding(keeper: Keeper) -> None:
    """What was said is heard before the end that followed it."""
    heard: queue.Queue[str] = queue.Queue()
    pipes = [os.pipe() for _ in range(3)]

    def add_all_ready() -> None:
        for number, (reading, writing) in reversed(list(enumerate(pipes))):
            os.write(writing, b".")
            keeper.add(reading, lambda n=number, fd=reading: (os.read(fd, 1), heard.put(str(n))))

    keeper.post(add_all_ready)
    assert [heard.get(timeout=30) for _ in pipes] == ["2", "1", "0"]
    for reading, writing in pipes:
        keeper.post(lambda fd=reading: keeper.drop(fd))
        os.close(writing)
    keeper.post(lambda: heard.put("done"))
    heard.get(timeout=30)
    for reading, _ in pipes:
        os.close(reading)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unexpected_exception_ends_the_thread_loudly(
    keeper: Keeper, crashes: list[BaseException]
) -> None:
    """The crash is told to whoever watches; nothing goes on half alive."""
    keeper.post(lambda: 1 // 0)
    keeper._thread.join(timeout=30)
    assert not keeper.works
    assert isinstance(crashes[0], ZeroDivisionError)
