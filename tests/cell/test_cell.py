"""What callers of a cell may rely on: one life at a time, orders once, nothing lost unsaved."""

from __future__ import annotations

import threading

import pytest
from cell_world import CellWorld

from supervisor.cell import order_to_json
from supervisor.core.events import Exited, ExitKind, Ready, Started
from supervisor.errors import Refused


def test_the_same_order_twice_starts_one_body(rlimit_world: CellWorld) -> None:
    """A repeated order changes nothing, also after the life has ended."""
    order = order_to_json(rlimit_world.order(1, "quick"))
    rlimit_world.cell.start(order)
    rlimit_world.cell.start(order)
    rlimit_world.until(Exited)
    rlimit_world.cell.start(order)
    events = [notice["event"]["type"] for notice in rlimit_world.cell.watch(0) if notice["event"]]
    assert events == ["Started", "Ready", "Exited"]


def test_a_second_living_incarnation_is_refused(rlimit_world: CellWorld) -> None:
    """There is at most one living body of a segment, whatever is ordered."""
    rlimit_world.start("serve")
    rlimit_world.until(Ready)
    pid = rlimit_world.cell.describe()["pid"]
    with pytest.raises(Refused, match="#1 still lives"):
        rlimit_world.cell.start(order_to_json(rlimit_world.order(2, "quick")))
    assert rlimit_world.cell.describe()["pid"] == pid


def test_an_older_incarnation_is_refused(rlimit_world: CellWorld) -> None:
    """Numbers only grow; a late order of an earlier life does nothing."""
    rlimit_world.incarnation = 6
    rlimit_world.start("quick")
    rlimit_world.until(Exited)
    with pytest.raises(Refused, match="older than #7"):
        rlimit_world.cell.start(order_to_json(rlimit_world.order(3, "quick")))


def test_orders_for_another_life_are_ignored(rlimit_world: CellWorld) -> None:
    """A late stop or kill of an old life never reaches the present one."""
    rlimit_world.incarnation = 1
    rlimit_world.start("serve")
    rlimit_world.until(Ready)
    rlimit_world.cell.kill(1)
    rlimit_world.cell.stop(1, "SIGKILL")
    rlimit_world.cell.stop(2, "SIGTERM")
    exited, evidence = rlimit_world.until(Exited)
    assert (str(exited.reason), evidence["exit_code"]) == ("stopped", 0)


def test_a_result_waits_until_it_is_saved(rlimit_world: CellWorld) -> None:
    """A new daemon hears of an end that nobody heard of; once saved, it is forgotten."""
    rlimit_world.start("quick")
    rlimit_world.until(Exited)
    again = rlimit_world.cell.watch(0)
    assert again[-1]["event"]["reason"]["kind"] == ExitKind.COMPLETED
    rlimit_world.cell.saved(again[-1]["n"])
    rlimit_world.start("serve")
    rlimit_world.until(Ready)
    assert {notice["incarnation"] for notice in rlimit_world.cell.watch(0)} == {2}


def test_the_story_of_a_living_body_can_be_read_again(rlimit_world: CellWorld) -> None:
    """Saving does not forget a life that goes on: the next daemon adopts it from its story."""
    rlimit_world.start("serve")
    rlimit_world.until(Ready)
    rlimit_world.cell.saved(rlimit_world.seen)
    events = [notice["event"]["type"] for notice in rlimit_world.cell.watch(0) if notice["event"]]
    assert events == ["Started", "Ready"]


def test_describe_tells_what_runs(rlimit_world: CellWorld) -> None:
    """Adoption asks which life is there, and whether it lives."""
    nothing = rlimit_world.cell.describe()
    assert (nothing["incarnation"], nothing["pid"], nothing["alive"]) == (0, None, False)
    rlimit_world.start("serve")
    started, _ = rlimit_world.until(Started)
    described = rlimit_world.cell.describe()
    assert (described["incarnation"], described["pid"], described["alive"]) == (
        1,
        started.pid,
        True,
    )
    rlimit_world.cell.kill(1)
    rlimit_world.until(Exited)
    assert rlimit_world.cell.describe()["alive"] is False


def test_closing_kills_and_sends_watchers_home(world: CellWorld) -> None:
    """After close nothing runs, and a watcher that waited has returned."""
    world.start("deaf")
    world.until(Ready)
    news: list[list[dict[str, object]]] = []
    last = world.cell.describe()["last"]
    thread = threading.Thread(target=lambda: news.append(world.cell.watch(last)))
    thread.start()
    world.cell.close()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert world.limiter.sweep("zoo", {}) == []
    with pytest.raises(Refused, match="closed"):
        world.start("quick")


def test_lives_follow_each_other_many_times(world: CellWorld) -> None:
    """Restarting leaves nothing behind that grows: descriptors least of all."""
    from pathlib import Path

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    world.start(command=("true",))
    world.until(Exited)
    before = descriptors()
    for _ in range(10):
        world.start(command=("true",))
        world.until(Exited)
    assert descriptors() == before
