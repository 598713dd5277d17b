"""What a step remembers."""

from __future__ import annotations

from dataclasses import fields, replace

from stage import spec_of

from supervisor.core.actions import Report, ReportCode
from supervisor.core.draft import Draft
from supervisor.core.state import (
    BringingUp,
    Idle,
    Running,
    SegmentState,
    SupervisorState,
    Up,
    Waiting,
)
from supervisor.core.tree import Segment, Tree


def draft() -> tuple[Draft, Segment]:
    tree = Tree(spec_of("p one_for_one\n  g one_for_one\n    a"))
    segment = tree.nodes["p/g/a"]
    assert isinstance(segment, Segment)
    return Draft(tree, 5.0), segment


def test_first_state_is_what_was_before() -> None:
    """Of several changes in one step the oldest state is kept, and the path named once."""
    making, segment = draft()
    making.put_phase(segment, Waiting(5.0))
    making.put_phase(segment, Running(5.0))
    made = making.finish()
    assert made.changed == ("p/g/a",)
    assert made.before == {"p/g/a": SegmentState(Idle())}
    assert made.tree.states["p/g/a"] == SegmentState(Running(5.0))


def test_rest_of_the_state_is_left_alone() -> None:
    """A new phase keeps counters and incarnation."""
    making, segment = draft()
    segment.state = SegmentState(incarnation=3, streak=2, wanted=False)
    making.put_phase(segment, Waiting(5.0))
    assert segment.state == SegmentState(Waiting(5.0), incarnation=3, streak=2, wanted=False)


def test_rest_of_a_supervisors_state_is_left_alone() -> None:
    """Its new phase is spelled out field by field: none is forgotten."""
    making, segment = draft()
    held = {field.name: object() for field in fields(SupervisorState) if field.name != "phase"}
    segment.parent.state = SupervisorState(**held)  # type: ignore[arg-type]
    making.put_supervisor_phase(segment.parent, Up(5.0))
    state = segment.parent.state
    assert {name: getattr(state, name) for name in held} == held
    assert state.phase == Up(5.0)


def test_a_cursor_that_moves_on_is_no_news_for_the_parent() -> None:
    """A new phase is; so is what a person wants."""
    making, segment = draft()
    supervisor = segment.parent
    supervisor.state = SupervisorState(BringingUp(1.0, 0))
    making.put_supervisor_phase(supervisor, BringingUp(1.0, 1))
    assert [one.path for one in making.unsettled] == ["p/g"]
    making.put_supervisor(supervisor, replace(supervisor.state, wanted=False))
    assert [one.path for one in making.unsettled] == ["p/g", "p"]


def test_supervisors_are_looked_at_again() -> None:
    """A child's change is its supervisor's business, a supervisor's its own and its parent's."""
    making, segment = draft()
    making.put_phase(segment, Waiting(5.0))
    assert [one.path for one in making.unsettled] == ["p/g"]
    making.put_supervisor_phase(segment.parent, Up(5.0))
    assert [one.path for one in making.unsettled] == ["p/g", "p"]
    assert segment.parent.state == SupervisorState(Up(5.0))


def test_deadlines_are_noted() -> None:
    """A state with a deadline is waited for from the moment it is put."""
    making, segment = draft()
    making.put_phase(segment, Running(5.0, 9.0))
    assert making.tree.next_deadline() == 9.0
    making.put_phase(segment, Running(5.0))
    assert making.tree.next_deadline() is None


def test_reports_name_their_node() -> None:
    """Reports are actions, in order."""
    making, segment = draft()
    making.report(ReportCode.GAVE_UP, segment, "why")
    assert making.finish().actions == (Report(ReportCode.GAVE_UP, "p/g/a", "why"),)
