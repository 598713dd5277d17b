"""Specs are values: frozen, comparable, with defaults that the documents promise."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.core.spec import (
    Backoff,
    Body,
    Kind,
    Restart,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)


@pytest.mark.parametrize("spec", [SegmentSpec("a"), SupervisorSpec("g"), Backoff(), Body()])
def test_specs_cannot_be_changed(spec: object) -> None:
    """What was validated stays as it was."""
    field = dataclasses.fields(spec)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(spec, field, None)


def test_defaults() -> None:
    """The figures that docs and tutorials name."""
    segment, supervisor = SegmentSpec("a"), SupervisorSpec("g")
    assert (segment.kind, segment.restart) == (Kind.TASK, Restart.TRANSIENT)
    assert segment.shutdown == Shutdown(grace_s=10.0, signal="SIGTERM")
    assert segment.backoff == Backoff(1.0, 2.0, 60.0, 0.2, 60.0)
    assert supervisor.strategy is Strategy.ONE_FOR_ONE
    assert (supervisor.max_restarts, supervisor.max_seconds) == (5, 60.0)
    assert supervisor.restart is Restart.PERMANENT


def test_bodies_do_not_share_their_variables() -> None:
    """Two bodies made from defaults have mappings of their own."""
    assert Body().env is not Body().env


def test_words_are_otps() -> None:
    """The strings that people write in files."""
    assert [one.value for one in Restart] == ["permanent", "transient", "temporary"]
    assert [one.value for one in Strategy] == ["one_for_one", "rest_for_one", "one_for_all"]
