"""Orders name the life they are for; facts do not."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.core import actions
from supervisor.core.actions import ReportCode

ORDERS = (actions.Start, actions.Adopt, actions.Stop, actions.Kill, actions.Release)


@pytest.mark.parametrize("cls", ORDERS, ids=lambda cls: cls.__name__)
def test_orders_can_be_repeated(cls: type) -> None:
    """Path and incarnation say whether an order was carried out before."""
    assert [field.name for field in dataclasses.fields(cls)][:2] == ["path", "incarnation"]


def test_report_codes_are_stable_words() -> None:
    """Scripts match on them: lower case, no spaces, and each its own."""
    words = [code.value for code in ReportCode]
    assert len(words) == len(set(words))
    assert all(word == word.lower() and word.replace("_", "").isalpha() for word in words)


def test_actions_compare_by_value() -> None:
    """The same order twice is the same order."""
    assert actions.Stop("p/a", 1) == actions.Stop("p/a", 1) != actions.Stop("p/a", 2)
