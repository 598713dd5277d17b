"""Templates: instances start and stop side by side, and their number is a change of the spec."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stage import CRASH, Stage

from supervisor.core import boot, reconfigure
from supervisor.core.codec import decode_spec, encode_spec
from supervisor.core.invariants import violations
from supervisor.core.spec import Backoff, Body, Kind, SegmentSpec, SupervisorSpec
from supervisor.core.templates import scaled, templated, waiting_for_all
from supervisor.errors import NotATemplate, TooManyChildren

SERVE = SegmentSpec("serve", kind=Kind.SERVICE, backoff=Backoff(first_s=0.0, max_s=0.0))
WATCH = SegmentSpec("watch", kind=Kind.SERVICE, after=("p/serve",))


def pipeline(replicas: int, max_children: int | None = None) -> SupervisorSpec:
    spec = SupervisorSpec("p", (templated(SERVE, replicas, max_children), WATCH))
    return waiting_for_all(spec, {"p/serve": replicas})


def on_stage(spec: SupervisorSpec) -> Stage:
    stage = Stage("p one_for_one")
    stage.spec = spec
    stage.last = boot(spec, 0.0, strict=True)
    stage.tree = stage.last.tree
    assert violations(stage.tree) == []
    return stage


def scale(stage: Stage, count: int) -> list[str]:
    stage.last = reconfigure(stage.tree, scaled(stage.tree.declared, "p/serve", count), 0.0)
    stage.tree = stage.last.tree
    assert violations(stage.tree) == []
    return stage.orders


def test_instances_start_side_by_side_and_the_next_waits_for_all() -> None:
    """All three at once; who waits for the template waits for the last of them."""
    stage = on_stage(pipeline(3))
    assert stage.orders == ["start p/serve/0#1", "start p/serve/1#1", "start p/serve/2#1"]
    assert stage.ready("p/serve/2", "p/serve/0") == []
    assert stage.ready("p/serve/1") == ["start p/watch#1"]


def test_instances_stop_side_by_side_with_one_grace() -> None:
    """The highest number is told first, and nobody waits for it."""
    stage = on_stage(pipeline(3)).all_up()
    orders = ["stop p/serve/2#1", "stop p/serve/1#1", "stop p/serve/0#1"]
    assert stage.stop("p/serve") == orders
    assert stage.next() == 10.0
    for number in "102":
        assert stage.exits(f"p/serve/{number}") == []
    assert stage.phase("p/serve") == "down"


def test_one_that_dies_while_the_others_come_up_is_restarted() -> None:
    """Its turn has come already, wherever it stands."""
    stage = on_stage(pipeline(3))
    stage.ready("p/serve/2")
    assert stage.exits("p/serve/2", CRASH, at=1.0)[-1].startswith("start p/serve/2#2")


def test_more_start_side_by_side_and_fewer_stop_from_the_highest() -> None:
    """One to three and back: the first never notices, and who watches waits for all there are."""
    stage = on_stage(pipeline(1)).all_up()
    assert scale(stage, 3) == ["start p/serve/1#1", "start p/serve/2#1"]
    stage.all_up()
    stage.tree = stage.last.tree
    assert not stage.tree.is_changing
    (_, watch) = stage.tree.declared.children
    assert isinstance(watch, SegmentSpec)
    assert watch.after == ("p/serve/0", "p/serve/1", "p/serve/2")
    assert scale(stage, 1) == ["stop p/serve/2#1"]
    assert stage.exits("p/serve/2") == ["stop p/serve/1#1"]
    stage.exits("p/serve/1")
    assert [one.path for one in stage.last.tree.nodes.values()] == [
        "p",
        "p/serve",
        "p/serve/0",
        "p/watch",
    ]
    assert stage.phase("p/serve/0").startswith("running")


@pytest.mark.parametrize(
    ("path", "count", "error", "said"),
    [
        ("p/watch", 2, NotATemplate, "p/watch has no `replicas`"),
        ("p", 2, NotATemplate, "p has no `replicas`"),
        ("p/nobody", 2, NotATemplate, "p/nobody has no `replicas`"),
        ("p/serve", 5, TooManyChildren, "from 1 to 4 .*not 5"),
        ("p/serve", 0, TooManyChildren, "not 0"),
    ],
)
def test_a_wrong_scale_is_refused_by_name(
    path: str, count: int, error: type[Exception], said: str
) -> None:
    """What is no template, and more or fewer than may be."""
    with pytest.raises(error, match=said):
        scaled(pipeline(1, max_children=4), path, count)


def test_instances_cannot_share_a_fixed_port() -> None:
    """Only one of them could listen there."""
    template = replace(SERVE, body=Body(command=("serve",), ports={"http": 80}))
    with pytest.raises(TooManyChildren, match="fixed port"):
        scaled(SupervisorSpec("p", (templated(template, 1),)), "p/serve", 2)


def test_a_template_survives_a_trip_through_json() -> None:
    """A daemon that starts anew can still scale it."""
    spec = pipeline(2, 4)
    assert decode_spec(encode_spec(spec)) == spec
