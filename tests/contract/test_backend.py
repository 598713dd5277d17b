"""What every backend promises, held for bodies in memory and for processes on Ray alike.

The promises are the docstrings of `ports.Backend`.
"""

from __future__ import annotations

import pytest

from supervisor.core.events import Exited, ExitKind, ExitReason, Ready, Started
from tests.contract.stages import RayWorld, Stage, eventually, is_alive

COMPLETED = ExitReason(ExitKind.COMPLETED)
KILLED = ExitReason(ExitKind.SIGNAL, "SIGKILL")
LOST = ExitReason(ExitKind.NODE_LOST)
STOPPED = ExitReason(ExitKind.STOPPED)


def pid_of(notice) -> int:
    assert isinstance(notice.event, Started)
    return notice.event.pid


# ----------------------------------------------------------------------------------------- starting


def test_a_start_is_followed_by_started_and_ready(stage: Stage):
    """A body that begins is told of twice: its process exists, then it works."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.until(Ready, "a")
    assert stage.world.is_alive(stage.path("a"), pid)
    assert stage.settle() == ["Started a#1"]


def test_a_prepared_segment_starts_as_any_other(stage: Stage):
    """Preparing is a hint: twice, or for a segment that lives, it changes nothing."""
    path, spec = stage.path("a"), stage.spec("a")
    stage.backend.prepare([(path, spec)])
    stage.backend.prepare([(path, spec)])
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.backend.prepare([(path, spec)])
    assert stage.settle() == ["Started a#1"]
    assert stage.world.is_alive(path, pid)


def test_a_task_that_ends_well_has_completed(stage: Stage):
    """The end of a body carries its cause, and a token, for nobody may lose it."""
    stage.start("a", body="complete")
    ended = stage.until(Exited, "a")
    assert ended.event.reason == COMPLETED
    assert ended.token > 0


def test_an_exit_code_is_a_cause(stage: Stage):
    """A program that fails is known by its code."""
    stage.start("a", body="fail")
    assert stage.reason("a") == ExitReason(ExitKind.EXIT, "3")


def test_a_second_order_for_a_living_life_changes_nothing(stage: Stage):
    """Start is idempotent: after a crash between saving and acting it is ordered again."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.start("a")
    assert stage.settle() == ["Started a#1"]
    assert stage.world.is_alive(stage.path("a"), pid)


def test_a_life_that_ended_is_not_begun_again(stage: Stage):
    """A late echo of an order must not revive what has ended."""
    stage.start("a", body="complete")
    stage.until(Exited, "a")
    stage.start("a", body="complete")
    assert stage.settle() == ["Started a#1", "Exited a#1"]


def test_lives_follow_each_other_with_growing_tokens(stage: Stage):
    """Each incarnation is a new process, and a token never stands for two notices of a path."""
    tokens = []
    for incarnation in (1, 2, 3):
        stage.start("a", incarnation, "complete")
        tokens.append(stage.until(Exited, "a", incarnation).token)
    assert tokens == sorted(set(tokens))


# ---------------------------------------------------------------------------------------- ending


def test_a_stop_is_a_question(stage: Stage):
    """A body that obeys has stopped, exactly once."""
    stage.start("a")
    stage.until(Ready, "a")
    stage.backend.stop(stage.path("a"), 1)
    assert stage.reason("a") == STOPPED
    assert stage.settle() == ["Started a#1", "Exited a#1"]


def test_a_kill_is_none(stage: Stage):
    """A body that does not obey lives on after a stop, and ends with a kill."""
    stage.start("a", body="deaf")
    pid = pid_of(stage.until(Started, "a"))
    if isinstance(stage.world, RayWorld):
        assert stage.said("a") == "deaf"
    stage.backend.stop(stage.path("a"), 1)
    assert stage.settle() == ["Started a#1"]
    stage.backend.kill(stage.path("a"), 1)
    stage.backend.kill(stage.path("a"), 1)
    stage.until(Exited, "a")
    assert not stage.world.is_alive(stage.path("a"), pid)
    assert stage.settle()[1:] == ["Exited a#1"]


def test_a_kill_may_follow_a_start_at_once(stage: Stage):
    """However early in its life, a body that is killed is gone: no order overtakes another."""
    names = [f"a{number}" for number in range(6)]
    for name in names:  # all orders wait for cells that are not up yet, and come to them together
        stage.start(name, body="deaf")
        stage.backend.kill(stage.path(name), 1)
    for name in names:
        if (name, 1) not in stage.ended:
            stage.until(Exited, name)


def test_a_death_from_outside_is_told_with_its_signal(stage: Stage):
    """Whoever kills a body, the cell knows by which signal it died."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.world.end_body(stage.path("a"), pid)
    assert stage.reason("a") == KILLED


def test_orders_about_an_old_life_are_not_for_the_new_one(stage: Stage):
    """A stop and a kill name the life that they mean."""
    stage.start("a", 1, "complete")
    stage.until(Exited, "a")
    stage.start("a", 2)
    stage.until(Ready, "a", 2)
    stage.backend.stop(stage.path("a"), 1)
    stage.backend.kill(stage.path("a"), 1)
    assert stage.settle()[2:] == ["Started a#2"]


def test_a_lost_cell_ends_its_life_once(stage: Stage):
    """Without its cell a life is lost, its body is gone, and the segment can live again."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    before = stage.until(Ready, "a")
    stage.world.end_cell(stage.path("a"))
    assert stage.reason("a") == LOST
    assert not stage.world.is_alive(stage.path("a"), pid)
    stage.start("a", 2)
    assert stage.until(Started, "a", 2).token > before.token
    assert stage.settle() == ["Started a#1", "Exited a#1", "Started a#2"]


def test_a_lost_life_is_not_begun_again(stage: Stage):
    """Its number is used up, though the new cell knows nothing of it."""
    stage.start("a")
    stage.until(Ready, "a")
    stage.world.end_cell(stage.path("a"))
    assert stage.reason("a") == LOST
    stage.start("a")
    assert stage.settle() == ["Started a#1", "Exited a#1"]


def test_a_lost_cell_that_ran_nothing_is_no_news(stage: Stage):
    """Between two lives nobody needs to know that a cell was lost; at worst a start meets it."""
    stage.start("a", 1, "complete")
    stage.until(Exited, "a")
    stage.world.end_cell(stage.path("a"))
    assert stage.settle() == ["Started a#1", "Exited a#1"]
    stage.start("a", 2, "complete")
    if stage.reason("a", 2) == LOST:  # the death of the cell had not come round yet
        stage.start("a", 3, "complete")
        assert stage.reason("a", 3) == COMPLETED


# --------------------------------------------------------------------------------------- adoption


def test_a_life_outlives_its_daemon(stage: Stage):
    """The next daemon hears of it as if it had seen it begin, and sees it end."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.until(Ready, "a")
    stage.next_daemon()
    stage.adopt("a")
    assert pid_of(stage.until(Started, "a")) == pid
    stage.until(Ready, "a")
    stage.backend.stop(stage.path("a"), 1)
    assert stage.reason("a") == STOPPED


def test_a_start_that_the_next_daemon_gives_again_changes_nothing(stage: Stage):
    """The daemon before it died between the order and the news: the body that is there is it."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.until(Ready, "a")
    stage.next_daemon()
    stage.start("a")
    assert pid_of(stage.until(Started, "a")) == pid
    stage.until(Ready, "a")
    stage.backend.stop(stage.path("a"), 1)
    assert stage.reason("a") == STOPPED


def test_a_stop_right_after_an_adoption_is_heard(stage: Stage):
    """Orders about a life that is still looked for wait until it is found."""
    stage.start("a")
    stage.until(Ready, "a")
    stage.next_daemon()
    stage.adopt("a")
    stage.backend.stop(stage.path("a"), 1)
    assert stage.reason("a") == STOPPED


def test_a_result_waits_for_the_next_daemon(stage: Stage):
    """What ended while no daemon was there is told to the one that adopts it."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.until(Ready, "a")
    stage.next_daemon()
    stage.world.end_body(stage.path("a"), pid)
    stage.adopt("a")
    assert stage.reason("a") == KILLED


def test_what_was_not_saved_is_told_again(stage: Stage):
    """A daemon that died before it saved a result leaves it to the next."""
    stage.start("a", body="fail")
    stage.until(Exited, "a")
    stage.next_daemon()
    stage.adopt("a", body="fail")
    assert stage.reason("a") == ExitReason(ExitKind.EXIT, "3")


def test_what_was_saved_is_not_told_again(stage: Stage):
    """A result that is in the store is the cell's no more; the next life is told alone."""
    stage.start("a", 1, "fail")
    ended = stage.until(Exited, "a")
    stage.backend.saved(stage.path("a"), ended.token)
    stage.start("a", 2)
    stage.until(Ready, "a", 2)
    stage.next_daemon()
    stage.adopt("a", 2)
    stage.until(Ready, "a", 2)
    assert stage.settle() == ["Started a#2"]


def test_a_life_that_cannot_be_found_is_lost(stage: Stage):
    """Adoption always ends in news."""
    stage.adopt("a", 4)
    assert stage.reason("a", 4) == LOST


def test_a_life_that_was_lost_with_nobody_there_is_lost(stage: Stage):
    """A cell that died while no daemon was there has nothing to tell; its life has ended."""
    stage.start("a")
    stage.until(Ready, "a")
    stage.next_daemon()
    stage.world.end_cell(stage.path("a"))
    stage.adopt("a")
    assert stage.reason("a") == LOST


def test_another_life_than_the_adopted_one_is_ended(stage: Stage):
    """At most one life of a segment, ever: the one in the store is the one that counts."""
    stage.start("a", 1)
    pid = pid_of(stage.until(Started, "a"))
    stage.next_daemon()
    stage.forget("a")
    stage.adopt("a", 2)
    assert stage.reason("a", 2) == LOST
    assert not stage.world.is_alive(stage.path("a"), pid)
    stage.start("a", 3)
    stage.until(Ready, "a", 3)


# ---------------------------------------------------------------------------- giving back, sweeping


def test_a_released_segment_can_start_again(stage: Stage):
    """Release gives the cell back, twice or without one too, and the next start makes another."""
    stage.backend.release(stage.path("a"))
    stage.start("a", 1, "complete")
    stage.until(Exited, "a")
    stage.backend.release(stage.path("a"))
    stage.backend.release(stage.path("a"))
    stage.start("a", 2)
    stage.until(Ready, "a", 2)


def test_a_sweep_ends_what_is_not_kept(stage: Stage):
    """Lives that the store does not know are ended without a word; the others do not notice."""
    pids = {}
    for name in ("kept", "unknown"):
        stage.start(name)
        pids[name] = pid_of(stage.until(Started, name))
        stage.until(Ready, name)
    stage.next_daemon()
    stage.backend.sweep({stage.path("kept"): 1})
    stage.adopt("kept")
    assert pid_of(stage.until(Started, "kept")) == pids["kept"]
    assert not stage.world.is_alive(stage.path("unknown"), pids["unknown"])
    assert stage.world.is_alive(stage.path("kept"), pids["kept"])
    assert eventually(lambda: not stage.world.has_cell(stage.path("unknown")))
    assert stage.world.has_cell(stage.path("kept"))
    stage.forget("unknown")


def test_a_start_after_a_sweep_finds_nothing_alive(stage: Stage):
    """A new launch sweeps first: what an old one left of a segment is gone before it starts."""
    stage.start("a", 1)
    old = pid_of(stage.until(Started, "a"))
    stage.next_daemon()
    stage.backend.sweep({})
    stage.start("a", 2)
    stage.until(Started, "a", 2)
    assert not stage.world.is_alive(stage.path("a"), old)


def test_leaving_leaves_bodies_alone_unless_told(stage: Stage):
    """A daemon may go without its bodies; with `stop_cells` nothing is left when close returns."""
    stage.start("a")
    pid = pid_of(stage.until(Started, "a"))
    stage.next_daemon()
    assert stage.world.is_alive(stage.path("a"), pid)
    stage.adopt("a")
    stage.until(Started, "a")
    stage.world.close_backend(stop_cells=True)
    assert not stage.world.is_alive(stage.path("a"), pid)
    assert stage.world.is_empty()
    stage.forget("a")


# ------------------------------------------------------------------------- what only processes show


@pytest.fixture
def on_ray(stage: Stage) -> Stage:
    """The stage with real processes."""
    if not isinstance(stage.world, RayWorld):
        pytest.skip("bodies in memory have no children and no signals")
    return stage


def test_a_kill_reaches_children_that_left(on_ray: Stage):
    """`Exited` means that no process of the life is left, wherever it has gone."""
    on_ray.start("a", body="with_child")
    on_ray.until(Ready, "a")
    child = int(on_ray.said("a"))
    on_ray.backend.kill(on_ray.path("a"), 1)
    on_ray.until(Exited, "a")
    assert not is_alive(child)


def test_a_lost_cell_leaves_no_child_behind(on_ray: Stage):
    """The next cell ends what the lost one left, before the loss is told."""
    on_ray.start("a", body="with_child")
    on_ray.until(Ready, "a")
    child = int(on_ray.said("a"))
    on_ray.world.end_cell(on_ray.path("a"))
    assert on_ray.reason("a") == LOST
    assert not is_alive(child)
