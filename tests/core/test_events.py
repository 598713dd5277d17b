"""Facts, and the words for how a life ended."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.core import events
from supervisor.core.events import ExitKind, ExitReason


@pytest.mark.parametrize("cls", events.LifeEvent.__args__, ids=lambda cls: cls.__name__)
def test_news_say_whose_life(cls: type) -> None:
    """Path and incarnation come first in all news about a life."""
    names = [field.name for field in dataclasses.fields(cls)]
    assert names[:2] == ["path", "incarnation"]


@pytest.mark.parametrize("cls", events.Request.__args__, ids=lambda cls: cls.__name__)
def test_requests_can_be_answered(cls: type) -> None:
    """Every request carries the number under which a person waits; 0 is nobody."""
    field = {field.name: field for field in dataclasses.fields(cls)}["request"]
    assert field.default == 0


@pytest.mark.parametrize(
    ("reason", "text", "error_type"),
    [
        (
            ExitReason(ExitKind.ERROR, "ValueError: bad: x"),
            "error(ValueError: bad: x)",
            "ValueError",
        ),
        (ExitReason(ExitKind.EXIT, "3"), "exit(3)", ""),
        (ExitReason(ExitKind.SIGNAL, "SIGKILL"), "signal(SIGKILL)", ""),
        (ExitReason(ExitKind.QUOTA, "disk"), "quota(disk)", ""),
        (ExitReason(ExitKind.NODE_LOST), "node_lost", ""),
    ],
    ids=str,
)
def test_reasons_in_words(reason: ExitReason, text: str, error_type: str) -> None:
    """The word that every screen shows, and the exception's type where there is one."""
    assert str(reason) == text
    assert reason.error_type == error_type
