"""A running tree gets another spec: who is stopped, who is started, and who never notices."""

from __future__ import annotations

import json

import pytest
from stage import CRASH, OOM, Stage, spec_of

from supervisor.core import outstanding, reconfigure, restore, rollback
from supervisor.core.codec import encode_state
from supervisor.core.describe import describe_action
from supervisor.core.invariants import violations
from supervisor.errors import AnotherPipeline, NodeChangedKind

BRANCH = """
    p one_for_one
      data rest_for_one max_restarts=3
        a service
        b service
        c service
      serve service
    """


def change(stage: Stage, text: str, at: float = 0.0) -> list[str]:
    """Apply another tree; return what is ordered."""
    stage.now_s = at
    stage.last = reconfigure(stage.tree, spec_of(text), at, request=1)
    stage.tree = stage.last.tree
    assert violations(stage.tree) == []
    return stage.orders


def follow(stage: Stage) -> Stage:
    """Go on with the tree that the latest step has left."""
    stage.tree = stage.last.tree
    return stage


def up(text: str) -> Stage:
    return Stage(text).all_up()


def test_the_last_in_start_order_goes_first_and_one_after_the_other() -> None:
    """What leaves is stopped in reverse start order, and nothing else hears of it."""
    stage = up(BRANCH)
    assert change(stage, "p one_for_one\n  data rest_for_one\n    b service") == ["stop p/serve#1"]
    assert stage.exits("serve") == ["stop p/data/c#1"]
    assert follow(stage).exits("c") == ["stop p/data/a#1"]
    follow(stage).exits("a")
    assert list(follow(stage).tree.nodes) == ["p", "p/data", "p/data/b"]
    assert stage.phase("b").startswith("running")


def test_what_is_new_starts_in_its_place_and_in_order() -> None:
    """The second newcomer waits until the first is ready; who runs beside them runs on."""
    stage = up("p one_for_one\n  z service")
    new = "p one_for_one\n  x service\n  z service\n  y service"
    assert change(stage, new) == ["start p/x#1"]
    assert stage.ready("x") == ["start p/y#1"]
    follow(stage).ready("y")
    assert not follow(stage).tree.is_changing
    assert [child.spec.name for child in stage.tree.root.children] == ["x", "z", "y"]


def test_another_order_moves_nobody() -> None:
    """Positions change, and with them who goes along in the next group restart."""
    stage = up("p rest_for_one\n  a service\n  b service")
    assert change(stage, "p rest_for_one\n  b service\n  a service") == []
    assert stage.exits("a", at=1.0) == []
    assert stage.phase("b").startswith("running")


def test_policy_holds_at_once_and_history_stays() -> None:
    """As in OTP: one restart before the change and one after it are two."""
    stage = up("p one_for_one\n  g one_for_one max_restarts=5\n    a service backoff=0")
    stage.exits("a", CRASH, at=1.0)
    stage.ready("a")
    assert (
        change(stage, "p one_for_one\n  g one_for_one max_restarts=1\n    a service backoff=0")
        == []
    )
    stage.exits("a", CRASH, at=2.0)
    assert any("its limit of 1 restart in 60s is used up" in line for line in stage.said)


def test_a_deadline_counts_from_when_its_phase_began() -> None:
    """A longer start timeout saves a slow start, a time quota ends who is over it."""
    stage = Stage("p one_for_one\n  a service start_timeout=5")
    change(stage, "p one_for_one\n  a service start_timeout=50", at=4.0)
    assert stage.next() == 50.0
    stage.ready("a", at=6.0)
    change(stage, "p one_for_one\n  a service start_timeout=50 time=10", at=30.0)
    assert stage.tick(at=30.0) == ["stop p/a#1"]


def test_a_stop_stays_and_a_given_up_one_with_the_same_body_too() -> None:
    """A change of policy starts nobody that a person or a limit has stopped."""
    stage = up("p one_for_one\n  a service\n  b service never_on=oom,78")
    stage.stop("a")
    stage.exits("a")
    text = "p one_for_one\n  a service start_timeout=9\n  b service\n  c service"
    assert change(stage, text) == ["start p/c#1"]
    assert stage.segment("a").wanted is False


def test_one_that_leaves_and_comes_back_starts_again() -> None:
    """It is declared again before it is gone: it gets a fresh life when it is."""
    stage = up("p one_for_one\n  a service\n  b service")
    assert change(stage, "p one_for_one\n  a service") == ["stop p/b#1"]
    assert change(stage, "p one_for_one\n  a service\n  b service") == []
    assert stage.exits("b") == ["start p/b#2 (after stopped)"]


def test_a_change_that_cannot_be_saved_never_was() -> None:
    """The tree before it is untouched, deadlines included."""
    stage = up(BRANCH)
    before, states = stage.tree, dict(stage.tree.states)
    made = reconfigure(before, spec_of("p one_for_one\n  other service"), 5.0)
    assert rollback(made.tree, made) is before
    assert dict(before.states) == states
    assert before.next_deadline() is None


def test_a_daemon_that_dies_in_the_middle_goes_on_with_the_change() -> None:
    """From what stands, what is declared and the states: the next to leave is still told to."""
    stage = up(BRANCH)
    change(stage, "p one_for_one\n  data rest_for_one\n    b service")
    saved = {path: encode_state(state) for path, state in stage.tree.states.items()}
    stage.tree = restore(
        stage.tree.root.spec,
        json.loads(json.dumps(saved)),
        declared=stage.tree.declared,
        strict=True,
    )
    again = [describe_action(action) for action in outstanding(stage.tree)]
    assert "stop p/serve#1" in again
    assert stage.exits("serve", OOM) == ["stop p/data/c#1"]


def test_an_ask_about_who_leaves_is_refused() -> None:
    """Start, stop and restart alike; `down` is still obeyed."""
    stage = up(BRANCH)
    change(stage, "p one_for_one\n  serve service")
    for ask in (stage.start, stage.stop, stage.restart):
        ask("data/b" if "data/b" in stage.tree.nodes else "p/data/b")
        assert stage.said == ["answer 1 no leaving: p/data/b is being removed from p"]
    assert "answer 1 yes ok: going down" in [*stage.drain(), *stage.said]


def test_what_cannot_be_is_refused_by_name() -> None:
    """Another pipeline, and a segment that would become a supervisor."""
    stage = up(BRANCH)
    with pytest.raises(AnotherPipeline, match="this is pipeline q, and p is what runs"):
        change(stage, "q one_for_one")
    with pytest.raises(NodeChangedKind, match="serve below p is a segment"):
        change(stage, "p one_for_one\n  serve one_for_one")


def test_what_a_person_is_stopping_cannot_be_restarted() -> None:
    """It says so by name and changes nothing; a start takes the stop back."""
    stage = up(BRANCH)
    stage.stop("serve")
    before = stage.state("serve")
    stage.restart("serve")
    assert stage.said[0].startswith("answer 1 no being_stopped: p/serve is being stopped")
    assert stage.state("serve") == before
    stage.stop("data")
    stage.restart("p/data/a")
    assert stage.said[0].startswith("answer 1 no being_stopped: p/data is being stopped")
    stage.start("serve")
    assert stage.exits("serve") == ["start p/serve#2 (after stopped)"]
