"""When a request has come about: every state of a node, for every verb."""

import pytest

from supervisor.cli.outcomes import outcome


def node(state, *, incarnation=2, wanted=True, pid=None, kind="task", phase="", children=()):
    """Return as much of a picture as matters here."""
    return {
        "name": "x",
        "kind": kind,
        "state": state,
        "phase": phase,
        "incarnation": incarnation,
        "wanted": wanted,
        "pid": pid,
        "cause": "cause",
        "next": {"text": "soon"},
        "children": list(children),
    }


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (node("running", pid=7), 0),
        (node("done"), 0),
        (node("waiting", incarnation=1), 0),
        (node("backoff"), 3),
        (node("failed"), 3),
        (node("gave_up"), 5),
        (node("stopped", wanted=False), 1),
        (node("running", incarnation=1), None),
        (node("done", incarnation=1), None),
        (node("gave_up", incarnation=1), None),
        (node("starting"), None),
        (node("stopping", incarnation=1, pid=7), None),
        (node("pending", incarnation=1), None),
    ],
)
@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_segment_came_up_or_did_not(verb, seen, code):
    """Only a life that is newer than the request counts."""
    end = outcome(verb, seen, incarnation_before=1)
    assert (None if end is None else end.exit_code) == code


@pytest.mark.parametrize(
    ("seen", "is_over"),
    [
        (node("stopped", wanted=False), True),
        (node("done", wanted=False), True),
        (node("gave_up", wanted=False), True),
        (node("stopped", wanted=True), False),
        (node("stopping", wanted=False, pid=7), False),
        (node("killing", wanted=False, pid=7), False),
        (node("stopped", wanted=False, children=[node("stopping", pid=7)]), False),
    ],
)
def test_a_stop_is_over_when_nothing_is_left(seen, is_over):
    """The state alone is not enough: no process may live below."""
    assert (outcome("stop", seen, 1) is not None) is is_over


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (node("running", kind="supervisor", phase="up", children=[node("running")]), 0),
        (node("running", kind="supervisor", phase="up", children=[node("waiting")]), 0),
        (node("degraded", kind="supervisor", phase="up", children=[node("backoff")]), 3),
        (node("degraded", kind="supervisor", phase="up", children=[node("gave_up")]), 5),
        (node("gave_up", kind="supervisor", phase="supervisor_ended"), 5),
        (node("stopped", kind="supervisor", phase="down", wanted=False), 1),
        (node("running", kind="supervisor", phase="up", children=[node("starting")]), None),
        (node("starting", kind="supervisor", phase="bringing_up"), None),
        (node("running", kind="supervisor", phase="up", incarnation=1), None),
    ],
)
def test_a_branch_came_up_or_did_not(seen, code):
    """The worst of what lies below decides."""
    end = outcome("restart", seen, incarnation_before=1)
    assert (None if end is None else end.exit_code) == code


def test_the_words_say_cause_and_next():
    """What a person reads at the end of the wait is enough to go on."""
    end = outcome("restart", node("backoff"), 1)
    assert end is not None
    assert end.text == "has ended: cause → soon"
