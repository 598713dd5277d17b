"""Evaluation gives the same figures for the same model, to the last byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segments.evaluation import evaluate, interval, shake
from segments.model import models_in

Contexts = Callable[..., Any]
ROUNDS = 200


def report(data: Path) -> bytes:
    return (data / "reports" / "evaluation.json").read_bytes()


def test_the_same_model_gives_the_same_report_byte_for_byte(context: Contexts, data: Path) -> None:
    """Two runs, one report."""
    evaluate(context(rounds=ROUNDS))
    first = report(data)
    (data / "reports" / "evaluation.json").unlink()
    evaluate(context(rounds=ROUNDS))
    assert report(data) == first


def test_the_report_says_which_model_and_how_sure_one_can_be(context: Contexts, data: Path) -> None:
    """The digest is the model's, and both figures lie inside their intervals."""
    ctx = context(rounds=ROUNDS)
    evaluate(ctx)
    found = json.loads(report(data))
    newest = models_in(data).require_newest()
    assert found["model"] == {"version": 1, "digest": newest.digest, "made_by": "baseline"}
    assert found["held_out_digits"] == 360
    for figure in (found["accuracy"], found["accuracy_shaky_hand"]):
        assert 0 < figure["low"] < figure["point"] < figure["high"] < 1
    assert found["accuracy"]["point"] > found["accuracy_shaky_hand"]["point"]
    assert ctx.reports == [(100, ROUNDS), (200, ROUNDS)]
    assert report(data) == (data / "reports" / "evaluation-v0001.json").read_bytes()


def test_a_model_published_meanwhile_is_for_the_next_run(context: Contexts, data: Path) -> None:
    """The model of the report is the one that was newest at the start."""
    shelf = models_in(data)
    better = {name: array + 1 for name, array in shelf.require_newest().load().items()}
    ctx = context(rounds=ROUNDS)
    ctx.on_progress = lambda _done: shelf.publish(better, {"made_by": "train"})
    evaluate(ctx)
    assert shelf.require_newest().number == 2
    assert json.loads(report(data))["model"]["version"] == 1
    evaluate(context(rounds=ROUNDS))
    assert json.loads(report(data))["model"]["version"] == 2


def test_an_evaluation_that_was_stopped_writes_no_report(context: Contexts, data: Path) -> None:
    """Half the rounds would be other figures."""
    ctx = context(rounds=ROUNDS)
    ctx.stopping.set()
    with pytest.raises(SystemExit, match="round 100 of 200"):
        evaluate(ctx)
    assert not (data / "reports").exists()


def test_a_shaky_hand_changes_digits_within_the_ink_there_is() -> None:
    """Same chance, same digits; values stay in 0..16."""
    images = np.random.default_rng(1).integers(0, 17, (50, 64)).astype(np.uint8)
    shaken = shake(images, np.random.default_rng(2))
    np.testing.assert_array_equal(shaken, shake(images, np.random.default_rng(2)))
    assert shaken.min() >= 0
    assert shaken.max() <= 16
    assert (shaken != images).any(axis=1).all()


def test_an_interval_is_the_middle_95_percent() -> None:
    """Of 0..1000 thousandths, those from 25 to 975."""
    assert interval(np.arange(1001) / 1000) == {"low": 0.025, "high": 0.975}
