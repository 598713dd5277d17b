"""OTP's own test cases, as far as they make sense here, under their names in supervisor_SUITE.

The second half are mistakes that other re-implementations shipped. What a real OTP did in random
trees is in test_otp_golden.py; where we differ on purpose, docs/semantics.md, section 10, says so.
Its last table says of each of the 97 cases where it is held, or why it has no meaning here; a test
below holds that table to what exists.
"""

from __future__ import annotations

import itertools
import pathlib
import re

import pytest
from stage import COMPLETED, CRASH, OOM, STOPPED, Stage, spec_of

from supervisor.core import reconfigure
from supervisor.core.actions import Start
from supervisor.core.events import ExitKind, ExitReason

OTP_DEFAULT = "max_restarts=2 max_seconds=3600"
AT_ONCE = "backoff=0 reset_after=0.001"
KILLED = ExitReason(ExitKind.SIGNAL, "SIGKILL")
MODES = ("never", "any_significant", "all_significant")


def run_down(stage: Stage, orders: list[str], said: ExitReason = STOPPED) -> list[str]:
    """Let everybody obey stops, one after the other; return all orders."""
    trace = list(orders)
    while orders and orders[-1].startswith(("stop", "kill")):
        path, _, number = orders[-1].split()[1].partition("#")
        orders = stage.exits(path, said, life=int(number))
        trace += orders
    return trace


def lives(stage: Stage) -> dict[str, int]:
    """Name -> incarnation of every segment that runs."""
    return {
        name: stage.latest(name) for name, phase in stage.phases().items() if phase == "running"
    }


def counts(stage: Stage) -> tuple[int, int]:
    """OTP's count_children, as far as there is one: children, and those that are active."""
    return len(stage.phases()), len(lives(stage))


# -------------------------------------------------------------------------------------------- start


def test_sup_start_normal() -> None:
    """Case 1: a supervisor without children starts, and ends when it is asked to."""
    stage = Stage("p one_for_one")
    assert stage.phase("p") == "up"
    assert stage.drain() == ["halt"]


def test_sup_start_child_returns_error() -> None:
    """Case 10: a failed first start concerns nobody else; here it is retried (6.3)."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service")
    assert stage.exits("a", CRASH) == ["start p/b#1"]
    assert stage.phase("a") == "backing_off until 1"


def test_sup_start_restart_child_returns_error() -> None:
    """Case 11: a start by a person that fails is decided like any exit; here OTP gives up at once.

    Section 10: OTP leaves the child undefined, we retry it (6.3).
    """
    stage = Stage("p one_for_one\n  a service backoff=1").all_up()
    stage.stop("a")
    stage.exits("a", STOPPED)
    stage.start("a")
    stage.exits("a", CRASH, at=5)
    assert stage.phase("a") == "backing_off until 6"


# --------------------------------------------------------------------------------------------- stop


def test_sup_stop_infinity() -> None:
    """Case 16: children with an infinite shutdown are waited for, and nothing is killed."""
    stage = Stage("p one_for_one\n  g one_for_one\n    a service grace=none").all_up()
    stage.drain()
    assert stage.next() is None
    assert stage.exits("a", STOPPED, at=10_000) == ["halt"]


def test_sup_stop_timeout() -> None:
    """Case 17: who obeys in time was stopped, who is deaf is killed; all ends."""
    stage = Stage("p one_for_one\n  a service grace=1\n  b service grace=1").all_up()
    assert stage.drain(at=10) == ["stop p/b#1"]
    assert stage.tick(at=11) == ["kill p/b#1"]
    assert stage.exits("b", KILLED, at=11) == ["stop p/a#1"]
    assert stage.exits("a", STOPPED, at=11.5) == ["halt"]


def test_sup_stop_brutal_kill() -> None:
    """Case 19: brutal_kill is a kill at once."""
    stage = Stage("p one_for_one\n  a service grace=1\n  b service grace=0").all_up()
    assert stage.drain() == ["kill p/b#1"]
    assert stage.exits("b", KILLED) == ["stop p/a#1"]


@pytest.mark.parametrize("reason", [COMPLETED, STOPPED, CRASH, OOM], ids=str)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_sup_stop_race(restart: str, reason: ExitReason) -> None:
    """Case 21: who ends by itself while the last child is stopped keeps its reason, for good."""
    stage = Stage(f"p one_for_one\n  a {restart} backoff=0\n  b service grace=2").all_up()
    stage.drain()
    assert stage.exits("a", reason) == []
    assert stage.segment("a").last_exit == reason
    assert stage.exits("b", STOPPED) == ["halt"]


@pytest.mark.parametrize("reason", [COMPLETED, STOPPED, CRASH, OOM, KILLED], ids=str)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_sup_stop_non_shutdown_exit(restart: str, reason: ExitReason) -> None:
    """Case 22: whatever a child answers to the stop, nothing restarts and the shutdown goes on."""
    stage = Stage(
        f"p one_for_one\n  a service\n  b {restart} backoff=0\n  c {restart} backoff=0"
    ).all_up()
    assert stage.drain() == ["stop p/c#1"]
    assert stage.exits("c", reason) == ["stop p/b#1"]
    assert stage.exits("b", reason) == ["stop p/a#1"]
    assert stage.exits("a", STOPPED) == ["halt"]


def test_sup_stop_manual() -> None:
    """Case 23: a stop by a person ends each child in its own way, and counts as no failure."""
    stage = Stage(
        "p one_for_one\n  g one_for_one\n"
        "    a service grace=0\n    b service grace=1\n    c service grace=1"
    ).all_up()
    assert stage.stop("g", at=1) == ["stop p/g/c#1"]
    assert stage.tick(at=2) == ["kill p/g/c#1"]
    assert stage.exits("c", KILLED, at=2) == ["stop p/g/b#1"]
    assert stage.exits("b", STOPPED, at=2.5) == ["kill p/g/a#1"]
    stage.exits("a", KILLED, at=2.5)
    assert stage.phase("g") == "down"
    assert stage.supervisor("p").restart_count == 0


def test_sup_stop_manual_timeout() -> None:
    """Case 24: a stop that takes long is answered at once and completes later."""
    stage = Stage("p one_for_one\n  a service grace=none").all_up()
    stage.drain(at=1)
    assert any(line.startswith("answer 1 yes") for line in stage.said)
    assert stage.exits("a", STOPPED, at=2) == ["halt"]


def test_child_adm() -> None:
    """Case 25: the life cycle that a person can order, with its refusals."""
    stage = Stage("p one_for_one\n  a service permanent").all_up()

    def code(verb: str) -> str:
        getattr(stage, verb)("a")
        return next(line.split()[3] for line in stage.said if line.startswith("answer"))

    assert code("start") == "already_running:"
    assert counts(stage) == (1, 1)
    assert code("stop") == "ok:"
    stage.exits("a", STOPPED)
    assert counts(stage) == (1, 0)
    assert code("stop") == "already_stopped:"
    assert code("restart") == "ok:"
    stage.ready("a")
    assert lives(stage) == {"a": 2}


def test_multiple_restarts() -> None:
    """Case 31: one restart a window, each a little more than the window apart: survives all."""
    stage = Stage(
        f"p one_for_one max_restarts=1 max_seconds=1\n  a service permanent {AT_ONCE}"
    ).all_up()
    for number in range(4):
        assert stage.exits("a", CRASH, at=10 + 2.1 * number) != []
        stage.ready("a", at=10 + 2.1 * number)
        stage.now_s += 1
    assert not stage.supervisor("p").failed


# ------------------------------------------------------------------------------- restart strategies


@pytest.mark.parametrize(
    ("strategy", "after_one"),
    [
        ("one_for_one", {"a": 1, "b": 2, "c": 1}),
        ("one_for_all", {"a": 2, "b": 2, "c": 2}),
        ("rest_for_one", {"a": 1, "b": 2, "c": 2}),
    ],
)
def test_strategies(strategy: str, after_one: dict[str, int]) -> None:
    """Cases 33, 35, 44: who is new after one crash; two crashes more are too many."""
    stage = Stage(
        f"p one_for_one\n  g {strategy} temporary {OTP_DEFAULT}\n"
        + "".join(f"    {name} service permanent {AT_ONCE}\n" for name in "abc")
    ).all_up()
    run_down(stage, stage.exits("b", CRASH, at=1))
    stage.all_up()
    assert lives(stage) == after_one
    for at in (2, 3):
        run_down(stage, stage.exits("b", CRASH, at=at))
        stage.all_up()
    assert stage.phase("g") == "supervisor_ended gave_up"
    assert lives(stage) == {}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_escalation(strategy: str) -> None:
    """Cases 34, 36, 45: starts keep failing: I attempts, then the healthy sibling ends, too."""
    stage = Stage(
        f"p one_for_one\n  g {strategy} temporary max_restarts=4 max_seconds=3600\n"
        f"    a service permanent {AT_ONCE}\n    b service permanent {AT_ONCE}"
    ).all_up()
    trace = run_down(stage, stage.exits("a", CRASH, at=1))
    while stage.phase("a").startswith("starting"):
        trace += run_down(stage, stage.exits("a", CRASH))
    assert sum("start p/g/a" in line for line in trace) == 4
    assert stage.phase("g") == "supervisor_ended gave_up"
    assert lives(stage) == {}


def test_one_for_all_other_child_fails_restart() -> None:
    """Case 37: b's start fails in the group's restart: a is stopped before the next attempt."""
    stage = Stage(
        f"p one_for_all max_restarts=3\n  a service permanent {AT_ONCE}\n"
        f"  b service permanent {AT_ONCE}"
    ).all_up()
    run_down(stage, stage.exits("a", CRASH, at=1))
    stage.ready("a")
    assert stage.phase("b").startswith("starting")
    orders = stage.exits("b", CRASH)
    assert orders == ["stop p/a#2"]
    run_down(stage, orders)
    stage.all_up()
    assert lives(stage) == {"a": 3, "b": 3}


def test_rest_for_one_other_child_fails_restart() -> None:
    """Case 46: b's start fails: only b is retried, a is not restarted once more."""
    stage = Stage(
        f"p rest_for_one max_restarts=3\n  a service permanent {AT_ONCE}\n"
        f"  b service permanent {AT_ONCE}"
    ).all_up()
    run_down(stage, stage.exits("a", CRASH, at=1))
    stage.ready("a")
    stage.exits("b", CRASH)
    stage.all_up()
    assert lives(stage) == {"a": 2, "b": 3}


# ------------------------------------------------------------------------------ termination reasons


@pytest.mark.parametrize(
    ("restart", "reason", "running"),
    [
        ("permanent", COMPLETED, {"a": 2}),  # 48
        ("transient", COMPLETED, {}),  # 49
        ("temporary", COMPLETED, {}),  # 50
        ("permanent", STOPPED, {"a": 2}),  # 51
        ("transient", STOPPED, {}),  # 52
        ("temporary", STOPPED, {}),  # 53
        ("permanent", CRASH, {"a": 2}),  # 55
        ("transient", CRASH, {"a": 2}),  # 56
        ("temporary", CRASH, {}),  # 57
    ],
    ids=str,
)
def test_termination(restart: str, reason: ExitReason, running: dict[str, int]) -> None:
    """Cases 48-53 and 55-57: normal, shutdown and abnormal, by restart type."""
    stage = Stage(f"p one_for_one {OTP_DEFAULT}\n  a {restart} {AT_ONCE}").all_up()
    stage.exits("a", reason)
    stage.all_up()
    assert lives(stage) == running


def test_faulty_application_shutdown() -> None:
    """Case 54: a failure deep below is named in the report of each level that gives up over it."""
    stage = Stage(
        "p rest_for_one max_restarts=0\n  g one_for_one max_restarts=0\n"
        "    h one_for_one max_restarts=0\n      a service"
    ).all_up()
    stage.exits("a", CRASH)
    gave_up = [line for line in stage.said if line.startswith("report gave_up")]
    assert [line.split(";")[0].split(": ", 1)[1] for line in gave_up] == [
        "p/g/h/a error(ValueError: no)",
        "p/g/h gave_up",
        "p/g gave_up",
    ]


def test_child_unlink() -> None:
    """Case 58: a child whose end is never told hangs nobody: all others are still served."""
    stage = Stage("p one_for_one\n  a service grace=1\n  b service backoff=0").all_up()
    stage.stop("a", at=1)
    assert stage.tick(at=2) == ["kill p/a#1"]
    assert stage.exits("b", CRASH, at=3)[0].startswith("start p/b#2")
    assert stage.tick(at=7) == ["kill p/a#1"]
    assert stage.drain(at=8) == ["stop p/b#2"]


def test_tree() -> None:
    """Case 59: a crash below is local; a branch that gives up takes its one_for_all siblings along.

    Section 10: what a person stopped is not started by that; with OTP it would be.
    """
    stage = Stage(
        f"p one_for_all {OTP_DEFAULT}\n"
        f"  t service transient {AT_ONCE}\n"
        f"  g one_for_one max_restarts=4 {AT_ONCE}\n    a service permanent {AT_ONCE}\n"
        f"  h one_for_one max_restarts=4 {AT_ONCE}\n    b service permanent {AT_ONCE}\n"
        f"    c service permanent {AT_ONCE}"
    ).all_up()
    stage.stop("t")
    stage.exits("t", STOPPED)
    stage.exits("a", CRASH, at=1)
    stage.all_up()
    assert lives(stage) == {"a": 2, "b": 1, "c": 1}
    orders = stage.exits("b", CRASH, at=2)
    while stage.phase("b").startswith("starting"):
        orders = stage.exits("b", CRASH)
    run_down(stage, orders)
    stage.all_up()
    assert lives(stage) == {"a": 3, "b": 6, "c": 2}
    assert stage.phase("t") == "idle"
    assert stage.supervisor("p").restart_count == 1


# ------------------------------------------------------------------------------------ significant


BRANCH = "p one_for_one\n  g {strategy} temporary auto_shutdown={mode} max_restarts=9 {once}\n"
BOTH = "    a {restart} {significant} {once}\n    b {restart} {significant} {once}\n    c service\n"


def branch(mode: str, restart: str, *, significant: bool, strategy: str = "one_for_one") -> Stage:
    """A supervisor `g` with two children that may be significant, and one that never is."""
    words = {
        "mode": mode,
        "restart": restart,
        "strategy": strategy,
        "significant": "significant" if significant else "",
        "once": AT_ONCE,
    }
    return Stage((BRANCH + BOTH).format(**words)).all_up(at=0)


@pytest.mark.parametrize("restart", ["temporary", "transient"])
@pytest.mark.parametrize("mode", ["never", "any_significant", "all_significant"])
def test_nonsignificant(mode: str, restart: str) -> None:
    """Cases 60, 61: who is not significant never ends its supervisor, however it ends (11.1)."""
    for reason in (KILLED, CRASH, COMPLETED):
        stage = branch(mode, restart, significant=False)
        stage.exits("a", reason, at=1)
        stage.exits("b", reason, at=1)
        assert stage.phase("g") == "up"
        assert lives(stage.all_up())["c"] == 1
    stage = branch(mode, restart, significant=False)
    for name in ("a", "b"):
        stage.stop(name)
        stage.exits(name, STOPPED)
    assert stage.phase("g") == "up"


@pytest.mark.parametrize(
    ("restart", "reason"),
    [
        ("temporary", KILLED),
        ("temporary", CRASH),
        ("temporary", COMPLETED),
        ("transient", COMPLETED),
        ("transient", STOPPED),
    ],
)
def test_significant_ends_any(restart: str, reason: ExitReason) -> None:
    """Cases 62, 63: under any_significant the first end for good ends everything (11.1)."""
    stage = branch("any_significant", restart, significant=True)
    trace = run_down(stage, stage.exits("a", reason, at=1))
    assert trace == ["stop p/g/c#1", "stop p/g/b#1"]
    assert stage.phase("g").startswith("supervisor_ended")
    assert stage.phase("p") == "up"


@pytest.mark.parametrize(
    ("restart", "reason"),
    [("temporary", KILLED), ("temporary", CRASH), ("transient", COMPLETED)],
)
def test_significant_ends_all(restart: str, reason: ExitReason) -> None:
    """Cases 62, 63: under all_significant the second of two ends everything, the first nothing."""
    stage = branch("all_significant", restart, significant=True)
    assert stage.exits("b", reason, at=1) == []
    assert stage.phase("g") == "up"
    assert run_down(stage, stage.exits("a", reason, at=2)) == ["stop p/g/c#1"]
    assert stage.phase("g").startswith("supervisor_ended")


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_significant_transient_that_crashes(mode: str) -> None:
    """Case 63: a significant transient child that crashes is restarted, and all live on (11.2)."""
    stage = branch(mode, "transient", significant=True)
    for number, name in enumerate(("a", "b", "a"), start=1):
        stage.exits(name, KILLED, at=number)
        stage.ready(name)
    assert lives(stage) == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize("restart", ["temporary", "transient"])
def test_significant_that_a_person_stops(restart: str) -> None:
    """Cases 62, 63: a stop by API ends nobody else, but it counts as ended for the last (11.3)."""
    stage = branch("any_significant", restart, significant=True)
    stage.stop("a")
    stage.exits("a", STOPPED)
    assert stage.phase("g") == "up"
    stage = branch("all_significant", restart, significant=True)
    stage.stop("a")
    stage.exits("a", STOPPED)
    assert stage.phase("g") == "up"
    stage.exits("b", COMPLETED, at=1)
    assert stage.phase("g").startswith("going_down (finished)")


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_significant_that_waits_is_active(mode: str) -> None:
    """OTP counts a restarting child as active; one in its backoff is just that (11.3)."""
    stage = Stage(
        f"p one_for_one\n  g one_for_one temporary auto_shutdown={mode}\n"
        "    a transient significant backoff=5\n    b temporary significant\n"
    ).all_up(at=0)
    stage.exits("a", CRASH, at=1)
    stage.exits("b", COMPLETED, at=2)
    expected = "supervisor_ended completed" if mode == "any_significant" else "up"
    assert stage.phase("g") == expected
    if mode == "all_significant":
        stage.tick(at=6)
        stage.exits("a", COMPLETED, at=7)
        assert stage.phase("g") == "supervisor_ended completed"


def test_significant_that_had_no_turn_is_active() -> None:
    """Who is still to start counts, however early another one has finished (11.3)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary auto_shutdown=all_significant\n"
        "    a significant\n    slow service\n    b significant\n"
    )
    stage.ready("a")
    stage.exits("a", COMPLETED, at=1)
    assert stage.phase("g") == "bringing_up at 1"


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_significant_that_ends_while_its_group_is_stopped(mode: str) -> None:
    """It would have been stopped anyway: absorbed, and it runs again with its group (11.2)."""
    stage = Stage(
        f"p one_for_one\n  g one_for_all temporary auto_shutdown={mode}\n"
        f"    c service {AT_ONCE}\n    a significant\n    b service\n"
    ).all_up(at=0)
    assert stage.exits("c", CRASH, at=1) == ["stop p/g/b#1"]
    stage.exits("a", COMPLETED, at=1)
    stage.exits("b", STOPPED, at=1)
    stage.all_up()
    assert lives(stage) == {"c": 2, "a": 2, "b": 2}


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_significant_bystander(mode: str, strategy: str) -> None:
    """Case 65: significant children that a sibling's crash takes along end nobody (11.2)."""
    stage = Stage(
        f"p one_for_one\n  g {strategy} temporary auto_shutdown={mode} {AT_ONCE}\n"
        f"    c service {AT_ONCE}\n    a transient significant {AT_ONCE}\n"
        f"    b temporary significant {AT_ONCE}\n"
    ).all_up(at=0)
    orders = stage.exits("c", CRASH, at=1)
    run_down(stage, orders, COMPLETED)
    stage.all_up(at=1)
    assert stage.phase("g") == "up"
    assert lives(stage)["c"] == 2
    if strategy != "one_for_one":
        assert stage.phase("b") in {"ended dropped", "ended completed"}


def change(stage: Stage, text: str) -> None:
    """Let the running tree have another spec from now on."""
    stage.last = reconfigure(stage.tree, spec_of(text), stage.now_s)
    stage.tree = stage.last.tree
    assert stage.orders == []


def upgradable(mode: str, significant: str = "significant") -> str:
    return (
        f"p one_for_one\n  g one_for_one temporary auto_shutdown={mode}\n"
        f"    a service temporary {significant}\n    b service temporary {significant}\n"
        "    c service"
    )


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(MODES, 2)))
def test_significant_upgrade(old: str, new: str) -> None:
    """Cases 67-72: from a live change on, the new mode holds, also for who was there before."""
    stage = Stage(upgradable(old)).all_up()
    change(stage, upgradable(new))
    run_down(stage, stage.exits("a", COMPLETED))
    assert ("c" in lives(stage)) is (new != "any_significant")
    if "b" in lives(stage):
        run_down(stage, stage.exits("b", COMPLETED))
    assert ("c" in lives(stage)) is (new == "never")


@pytest.mark.parametrize(("old", "new"), [("", "significant"), ("significant", "")])
def test_significant_upgrade_child(old: str, new: str) -> None:
    """Case 73: a child that becomes significant in a live change is so, and the other way round."""
    stage = Stage(upgradable("any_significant", old)).all_up()
    change(stage, upgradable("any_significant", new))
    run_down(stage, stage.exits("a", COMPLETED))
    assert ("c" in lives(stage)) is (new == "")


@pytest.mark.parametrize("inner", ["significant", ""])
def test_significant_escalation(inner: str) -> None:
    """Case 66: the end of a branch ends what it is significant in, else only itself (11.4)."""
    stage = Stage(
        "p one_for_one\n  top one_for_one temporary auto_shutdown=any_significant\n"
        f"    s one_for_one transient auto_shutdown=any_significant {inner}\n"
        "      w transient significant\n    other service\n"
    ).all_up(at=0)
    run_down(stage, stage.exits("w", COMPLETED, at=1))
    assert stage.phase("s") == "supervisor_ended completed"
    expected = "supervisor_ended completed" if inner else "up"
    assert stage.phase("top") == expected
    assert ("other" in lives(stage)) is not bool(inner)


def test_significant_in_a_permanent_branch() -> None:
    """A permanent supervisor that shuts down is simply started again: misconfigured, as in OTP."""
    stage = Stage(
        f"p one_for_one\n  g one_for_one permanent auto_shutdown=any_significant {AT_ONCE}\n"
        "    w transient significant\n"
    ).all_up(at=0)
    assert stage.exits("w", COMPLETED, at=1) == ["start p/g/w#2 (after completed)"]
    assert stage.supervisor("p").restart_count == 1


def test_significant_child_of_the_root() -> None:
    """The pipeline is finished, and has not failed; it is down as a whole (11.5)."""
    stage = Stage(
        "p one_for_one auto_shutdown=all_significant\n  train significant\n  serve service\n"
    ).all_up(at=0)
    assert stage.exits("train", COMPLETED, at=1) == ["stop p/serve#1"]
    assert stage.exits("serve", STOPPED) == ["halt"]
    assert stage.phase("p") == "supervisor_ended completed"
    assert stage.reload() == ["halt"]


@pytest.mark.parametrize("why", ["temporary", "budget=0", "max_restarts=0"])
def test_significant_child_of_the_root_that_fails(why: str) -> None:
    """The pipeline ends with it, too, and has failed, whatever its restarts ran into (11.5)."""
    of_root = why if why.startswith("max") else ""
    of_child = "" if of_root else why
    stage = Stage(
        f"p one_for_one auto_shutdown=any_significant {of_root}\n"
        f"  train significant {of_child}\n  serve service\n"
    ).all_up(at=0)
    assert stage.exits("train", OOM, at=1) == ["stop p/serve#1"]
    assert stage.exits("serve", STOPPED) == ["halt failed"]
    assert stage.phase("p") == "supervisor_ended gave_up"
    assert stage.reload() == ["halt failed"]


def test_finished_branch_runs_again_with_its_group() -> None:
    """A branch that has finished is to its group what a completed child is (5.6, 11.4)."""
    stage = Stage(
        f"p one_for_all {AT_ONCE}\n  g one_for_one transient auto_shutdown=any_significant\n"
        f"    w significant\n  s service {AT_ONCE}\n"
    ).all_up(at=0)
    stage.exits("w", COMPLETED, at=1)
    assert stage.phase("g") == "supervisor_ended completed"
    stage.exits("s", CRASH, at=2)
    assert stage.orders == ["start p/g/w#2 (after completed)"]


def test_stop_by_the_parent_outweighs_the_finish() -> None:
    """A person's stop of a branch that is finishing is obeyed: it is stopped, not done (7.5)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one transient auto_shutdown=any_significant\n"
        "    w significant\n    s service\n"
    ).all_up(at=0)
    stage.exits("w", COMPLETED, at=1)
    stage.stop("g")
    stage.exits("s", STOPPED)
    assert stage.phase("g") == "down"


# ---------------------------------------------------------------------------- counting and the rest


def test_count_restarting_children() -> None:
    """Case 76: children whose restart fails are not active; they are again when it succeeds."""
    stage = Stage(
        "p one_for_one max_restarts=20 max_seconds=10\n"
        + "".join(f"  {name} service backoff=1\n" for name in "abc")
    ).all_up()
    for name in "ab":
        stage.exits(name, CRASH, at=1)
    assert counts(stage) == (3, 1)
    stage.tick(at=2)
    stage.ready("a", "b")
    assert counts(stage) == (3, 3)
    for name, active in (("a", 2), ("b", 1), ("c", 0)):
        stage.stop(name)
        stage.exits(name, STOPPED)
        assert counts(stage) == (3, active)


@pytest.mark.parametrize("how", ["killed", "normal", "abnormal", "api"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_do_not_save_child_specs_for_temporary_children(restart: str, how: str) -> None:
    """Case 79: who is back by itself, and that everybody else can be started again.

    Section 10: OTP forgets a temporary child that ended; here it stays visible.
    """
    stage = Stage(f"p one_for_one {OTP_DEFAULT}\n  a {restart} {AT_ONCE}").all_up()
    if how == "api":
        run_down(stage, stage.stop("a"))
    else:
        stage.exits("a", {"killed": KILLED, "normal": COMPLETED, "abnormal": CRASH}[how])
    back = how != "api" and (restart == "permanent" or (restart == "transient" and how != "normal"))
    stage.all_up()
    assert lives(stage) == ({"a": 2} if back else {})
    assert bool(stage.start("a")) is not back
    stage.all_up()
    assert lives(stage) == {"a": 2}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_temporary_bystander(strategy: str) -> None:
    """Case 81: a restart of the group takes the temporary bystander down, and it stays down."""
    stage = Stage(f"p {strategy}\n  a permanent {AT_ONCE}\n  b service temporary").all_up()
    assert run_down(stage, stage.exits("a", COMPLETED))[0] == "stop p/b#1"
    stage.all_up()
    assert lives(stage) == {"a": 2}
    assert stage.phase("b") == "ended dropped"


def test_simple_global_supervisor() -> None:
    """Case 82: kill, normal exit, a person's restart of a nested server: a new life each."""
    stage = Stage(
        f"p one_for_all {OTP_DEFAULT}\n  g one_for_one {OTP_DEFAULT}\n"
        f"    a service permanent {AT_ONCE}"
    ).all_up()
    for number, reason in ((2, KILLED), (3, COMPLETED)):
        stage.exits("a", reason, at=number)
        stage.ready("a", at=number)
        assert lives(stage) == {"a": number}
        stage.now_s += 1
    run_down(stage, stage.restart("g"))
    stage.all_up()
    assert lives(stage) == {"a": 4}
    assert run_down(stage, stage.drain())[-1] == "halt"


def test_hanging_restart_loop() -> None:
    """Case 83: a start that keeps failing slowly; a stop breaks the loop, a start renews it."""
    stage = Stage(f"p one_for_one max_restarts=8 max_seconds=10\n  a permanent {AT_ONCE}").all_up()
    stage.exits("a", CRASH, at=1)
    for number in range(3):
        stage.exits("a", CRASH, at=3 + 2 * number)
    assert counts(stage) == (1, 0)
    assert stage.stop("a") == ["stop p/a#5"]
    assert stage.exits("a", CRASH) == []
    assert stage.phase("a") == "idle"
    stage.start("a")
    stage.ready("a")
    assert lives(stage) == {"a": 6}
    stage.exits("a", CRASH)
    assert run_down(stage, stage.drain())[-1] == "halt"


def test_hanging_restart_loop_rest_for_one() -> None:
    """Case 84: a stop of the failing one breaks the loop; the first was never touched.

    OTP leaves the third undefined then; here the bring-up goes on with it (6.1).
    """
    stage = Stage(
        f"p rest_for_one max_restarts=8\n  a service\n  b service {AT_ONCE}\n  c service"
    ).all_up()
    run_down(stage, stage.exits("b", CRASH, at=1))
    stage.exits("b", CRASH, at=3)
    assert lives(stage) == {"a": 1}
    stage.stop("b")
    assert stage.exits("b", CRASH) == ["start p/c#2 (after stopped)"]


def test_order_of_children() -> None:
    """Case 90: started in list order; #3 dies: #5, #4 stop; #3-#5 start; shutdown 5, 4, 3, 2, 1."""
    names = ["c3", "c1", "c5", "c2", "c4"]
    stage = Stage(
        "p rest_for_one\n" + "".join(f"  {name} service {AT_ONCE}\n" for name in names)
    ).all_up()
    trace = run_down(stage, stage.exits("c5", CRASH))
    for name in names[2:4]:
        trace += stage.ready(name)
    stage.ready("c4")
    trace += run_down(stage, stage.drain())
    assert [line.split(" (")[0] for line in trace] == [
        *("stop p/c4#1", "stop p/c2#1"),
        *("start p/c5#2", "start p/c2#2", "start p/c4#2"),
        *("stop p/c4#2", "stop p/c2#2", "stop p/c5#2", "stop p/c1#1", "stop p/c3#1"),
        "halt",
    ]


# ----------------------------------------------------------------------- what OTP 25 was seen to do


@pytest.mark.parametrize(
    ("limits", "crashes"),
    [((2,), 3), ((1, 1), 4), ((2, 1), 6), ((2, 3), 12), ((1, 1, 1), 8), ((2, 2, 2), 27)],
    ids=str,
)
def test_limits_of_nested_supervisors_multiply(limits: tuple[int, ...], crashes: int) -> None:
    """Crashes of a running child that bring a whole tree down: the product of all I+1 (OTP 1.8)."""
    lines = ["p one_for_one max_restarts=0"]
    for depth, limit in enumerate(reversed(limits)):
        indent = "  " * (depth + 1)
        kind = "temporary" if depth == 0 else "permanent"
        lines.append(f"{indent}g{depth} one_for_one {kind} max_restarts={limit} {AT_ONCE}")
    lines.append("  " * (len(limits) + 1) + f"a service permanent {AT_ONCE}")
    stage = Stage("\n".join(lines)).all_up()
    counted = 0
    while stage.phase("g0") == "up":
        counted += 1
        stage.exits("a", CRASH, at=stage.now_s + 0.01)
        stage.all_up(at=stage.now_s + 0.01)
    assert counted == crashes


def test_simultaneous_deaths() -> None:
    """Four deaths at once: one restart under one_for_all, four under one_for_one (OTP 1.5)."""
    for strategy, restarts in (("one_for_all", 1), ("one_for_one", 4)):
        stage = Stage(
            f"p {strategy} max_restarts=9\n"
            + "".join(f"  {name} service backoff=1\n" for name in "abcd")
        ).all_up()
        for name in "abcd":
            stage.exits(name, CRASH)
        assert stage.supervisor("p").restart_count == restarts


@pytest.mark.parametrize(("deaths", "restarts"), [("bd", 1), ("db", 2)])
def test_simultaneous_deaths_under_rest_for_one(deaths: str, restarts: int) -> None:
    """[b, d] is one restart, because d goes along with b; [d, b] is two (OTP 1.5)."""
    stage = Stage(
        "p rest_for_one max_restarts=9\n"
        + "".join(f"  {name} service backoff=1\n" for name in "abcd")
    ).all_up()
    for name in deaths:
        stage.exits(name, CRASH)
    assert stage.supervisor("p").restart_count == restarts


def test_persons_restarts_are_never_counted() -> None:
    """Twenty stops and starts with I=0 survive (OTP 1.7)."""
    stage = Stage("p one_for_one max_restarts=0\n  a service").all_up()
    for _ in range(20):
        stage.stop("a")
        stage.exits("a", STOPPED)
        stage.start("a")
        stage.ready("a")
    assert lives(stage) == {"a": 21}


# ------------------------------------------------------- mistakes that other libraries have shipped


def test_strategy_is_not_ignored() -> None:
    """AtomVM #1855: every strategy was one_for_one."""
    stage = Stage("p one_for_all\n  a service\n  b service").all_up()
    assert stage.exits("a", CRASH) == ["stop p/b#1"]


def test_limit_is_not_ignored() -> None:
    """AtomVM #1915: restarts without end."""
    stage = Stage(f"p one_for_one {OTP_DEFAULT}\n  a service {AT_ONCE}").all_up()
    for _ in range(9):
        if stage.phase("a") == "running":
            stage.exits("a", CRASH)
            stage.all_up()
    assert stage.latest("a") == 3


def test_failing_restart_is_survived() -> None:
    """AtomVM #1957: the supervisor crashed when the start of a restart failed."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service").all_up()
    stage.exits("a", CRASH, at=1)
    stage.tick(at=2)
    stage.exits("a", CRASH, at=2)
    assert stage.phase("a") == "backing_off until 3"
    assert stage.phase("b") == "running"


def test_siblings_end_after_a_give_up() -> None:
    """Visor.jl #5: after the give-up the siblings ran on."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary max_restarts=0\n    a service\n    b service\n"
        "    c service"
    ).all_up()
    assert run_down(stage, stage.exits("b", CRASH)) == ["stop p/g/c#1", "stop p/g/a#1"]
    assert lives(stage) == {}


def test_death_that_is_told_twice_is_counted_once() -> None:
    """Elle #1211: each death arrived as two notices."""
    stage = Stage("p one_for_one max_restarts=1\n  a service backoff=1").all_up()
    stage.exits("a", CRASH, at=1)
    stage.exits("a", CRASH, at=1)
    stage.exits("a", CRASH, at=1, life=1)
    assert stage.supervisor("p").restart_count == 1
    assert stage.phase("a") == "backing_off until 2"


def test_child_that_dies_right_after_its_start_is_restarted_again() -> None:
    """distributed-process-supervisor PR 6: it was restarted only once."""
    stage = Stage(f"p one_for_one max_restarts=9\n  a service {AT_ONCE}")
    for number in range(2, 9):
        assert stage.exits("a", CRASH)[0].startswith(f"start p/a#{number} ")


def test_delayed_restart_does_happen() -> None:
    """supervisor2, supervisor3: a delayed retry was dropped and the child stayed dead."""
    stage = Stage("p one_for_one\n  a service backoff=2\n  b service").all_up()
    stage.exits("a", CRASH, at=1)
    stage.exits("b", CRASH, at=1.5)
    stage.restart("b", at=2)
    assert stage.next() == 3
    assert stage.tick(at=3) == ["start p/a#2 (attempt 2, after error(ValueError: no))"]


def test_stop_during_a_backoff_is_final() -> None:
    """Anarlog #6870: a timer resurrected a child that had been stopped."""
    stage = Stage("p one_for_one\n  a service backoff=2").all_up()
    stage.exits("a", CRASH, at=1)
    stage.stop("a", at=2)
    stage.start("a", at=2.5)
    stage.stop("a", at=2.6)
    stage.exits("a", STOPPED, at=2.7)
    for at in (3, 4, 99):
        assert stage.tick(at=at) == []
    assert stage.phase("a") == "idle"


def test_no_busy_loop_when_starts_fail() -> None:
    """Earl #26: each answer to a failed start is finite, and the limit ends the row."""
    stage = Stage(f"p one_for_one {OTP_DEFAULT}\n  a service {AT_ONCE}")
    starts = 1
    while stage.phase("a").startswith("starting"):
        stage.exits("a", CRASH)
        starts += sum(isinstance(action, Start) for action in stage.last.actions)
    assert starts == 3


def test_replacement_is_not_clobbered_by_its_predecessor() -> None:
    """Anarlog #6870: late news about the old life hit the one that had taken its place."""
    stage = Stage("p one_for_one\n  a service backoff=0\n  b service").all_up()
    stage.exits("a", CRASH, at=1)
    stage.ready("a")
    assert stage.exits("a", OOM, life=1) == []
    assert stage.stop("b") == ["stop p/b#1"]
    assert stage.exits("a", CRASH, life=1) == []
    assert lives(stage) == {"a": 2}
    assert stage.supervisor("p").restart_count == 1


def test_crash_frees_no_place() -> None:
    """Elixir #7655: a crash lowered the count of children although the child was restarted."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service").all_up()
    for at in (1, 3, 5):
        stage.exits("a", CRASH, at=at)
        assert counts(stage) == (2, 1)
        stage.tick(at=at + 1)
        stage.ready("a")
        assert counts(stage) == (2, 2)
        stage.now_s += 61


def test_exit_that_crosses_a_stop() -> None:
    """OTP #3670, #5193: a death on its way while the stop was ordered left an orphan."""
    stage = Stage("p one_for_one\n  a service\n  b service").all_up()
    assert stage.stop("a") == ["stop p/a#1"]
    assert stage.exits("a", CRASH) == []
    assert (stage.phase("a"), stage.supervisor("p").restart_count) == ("idle", 0)
    stage.start("a")
    stage.ready("a")
    assert lives(stage) == {"a": 2, "b": 1}


def test_unkillable_child_is_not_counted_as_gone() -> None:
    """OTP #770: children that could not be killed were counted wrongly; here all wait for them."""
    stage = Stage(
        "p one_for_all max_restarts=9\n  a service backoff=0\n  b service grace=0"
    ).all_up()
    assert stage.exits("a", CRASH, at=1) == ["kill p/b#1"]
    for at in (6, 11, 16):
        assert stage.tick(at=at) == ["kill p/b#1"]
    assert stage.phase("b").startswith("killing")
    assert stage.exits("b", KILLED, at=17)[0].startswith("start p/a#2")


def test_slow_starts_do_not_blind_the_limit() -> None:
    """OTP's known gap: with a window shorter than the start, time alone never trips (4.2)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary max_restarts=3 max_seconds=5\n"
        "    a service backoff=0 start_timeout=60"
    )
    deaths = 0
    while stage.phase("a").startswith("starting"):
        stage.exits("a", CRASH, at=stage.now_s + 30)
        deaths += 1
        assert len(stage.supervisor("g").restarts) <= 1
    assert deaths == 4
    assert stage.phase("g") == "supervisor_ended gave_up"


# ------------------------------------------------------------------------------- the table of cases


def test_every_case_is_accounted_for() -> None:
    """The last table of docs/semantics.md has all 97 cases once, and what it names exists."""
    root = pathlib.Path(__file__).resolve().parents[2]
    text = (root / "docs" / "semantics.md").read_text(encoding="utf-8")
    _, _, table = text.partition("## Case by case")
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]
    numbers = [number for row in rows for number in _numbers(row[0])]
    assert numbers == list(range(1, 98))
    assert all(row[2].strip() for row in rows)
    tests = "".join(path.read_text(encoding="utf-8") for path in root.glob("tests/**/test_*.py"))
    named = re.findall(r"`(test_\w+)`", table)
    assert len(named) > 40
    assert [name for name in named if f"def {name}(" not in tests] == []
    files = re.findall(r"`((?:tests|scripts)/[\w/.]+)`", table)
    assert [name for name in files if not (root / name).exists()] == []


def _numbers(cell: str) -> range:
    first, _, last = cell.strip().partition("-")
    return range(int(first), int(last or first) + 1)
