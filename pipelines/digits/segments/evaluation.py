"""How good is the newest model? `evaluate` answers with figures that anyone can reproduce.

The model is the one that the pointer names when evaluation starts; what is published meanwhile is
for the next run. Every round has a seed of its own and the report holds no time of day, so the
same model gives the same report, byte for byte, whatever else happens on the machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from segments.dataset import NEIGHBOURS, move, read_features
from segments.model import FULL_INK, PIXELS, Model, describe, models_in
from segments.shelf import Edition, write_durably
from supervisor.body import Context

EVALUATION_SEED = 11
NOISE_INK = 2.0
"""Standard deviation of the noise on a pixel, in units of ink (0..16)."""
ROUNDS_PER_REPORT = 100


def evaluate(ctx: Context) -> None:
    """Write `reports/evaluation.json`: accuracy with 95 % bootstrap intervals.

    Two figures: on the held-out digits as they are, and on digits written with a shaky hand
    (moved by up to one pixel, with noise). Parameter: `rounds`.
    """
    rounds = int(ctx.params.get("rounds", 16000))
    edition = models_in(ctx.data).require_newest()
    model = Model.from_arrays(edition.load())
    data = read_features(ctx.data)
    ctx.logger.info("evaluating model %s, sha256 %s", edition.name, edition.digest)

    judge = Judge(model, data.held_out_images, data.held_out_labels)
    clean, shaky = np.empty(rounds), np.empty(rounds)
    for number in range(rounds):
        clean[number], shaky[number] = judge.round(number)
        if (number + 1) % ROUNDS_PER_REPORT == 0:
            ctx.progress(number + 1, rounds)
            if ctx.stopping.is_set():
                raise SystemExit(f"stopped after round {number + 1} of {rounds}; no report written")
    report: dict[str, Any] = {
        "model": describe(edition),
        "held_out_digits": len(data.held_out_labels),
        "rounds": rounds,
        "accuracy": {"point": judge.accuracy(), **interval(clean)},
        "accuracy_shaky_hand": {"point": round(float(shaky.mean()), 6), **interval(shaky)},
    }
    _write(ctx.data, edition, report)
    low, high = report["accuracy"]["low"], report["accuracy"]["high"]
    ctx.status(f"model {edition.name}: accuracy {judge.accuracy():.1%} ({low:.1%} to {high:.1%})")


class Judge:
    """One model and the digits it is judged by."""

    def __init__(self, model: Model, images: np.ndarray, labels: np.ndarray) -> None:
        self._model = model
        self._images = images
        self._labels = labels
        self._right = model.predict(images) == labels

    def accuracy(self) -> float:
        """Share of the digits that the model names rightly."""
        return round(float(self._right.mean()), 6)

    def round(self, number: int) -> tuple[float, float]:
        """Draw as many digits as there are, with replacement; the same ones for the same number.

        Returns:
            Accuracy on them as they are, and as a shaky hand would have written them.
        """
        chance = np.random.default_rng([EVALUATION_SEED, number])
        drawn = chance.integers(0, len(self._labels), len(self._labels))
        shaky = self._model.predict(shake(self._images[drawn], chance)) == self._labels[drawn]
        return float(self._right[drawn].mean()), float(shaky.mean())


def shake(images: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Move each image by at most one pixel and add noise; shape (n, 64), values 0..16."""
    shaken = np.empty((len(images), PIXELS))
    place = chance.integers(0, len(NEIGHBOURS), len(images))
    for number, (rows, columns) in enumerate(NEIGHBOURS):
        shaken[place == number] = move(images[place == number], rows, columns)
    return np.clip(shaken + chance.normal(0, NOISE_INK, shaken.shape), 0, FULL_INK)


def interval(accuracies: np.ndarray) -> dict[str, float]:
    """The middle 95 % of the rounds."""
    low, high = np.percentile(accuracies, [2.5, 97.5])
    return {"low": round(float(low), 6), "high": round(float(high), 6)}


def _write(data: Path, edition: Edition, report: dict[str, Any]) -> None:
    reports = data / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    content = (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()
    write_durably(reports / f"evaluation-{edition.name}.json", content)
    write_durably(reports / "evaluation.json", content)
