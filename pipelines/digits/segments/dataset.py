"""From the outside world to numbers that models learn from: `ingest` and `features`.

Both are repeatable: the same input gives the same bytes, and publishing equal bytes again changes
nothing. The split into training, validation and held-out digits is made once, here; who learns
never sees the digits that evaluation and monitoring ask about.
Read next: `learning.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from segments import model
from segments.model import FULL_INK, PIXELS, SIDE
from segments.shelf import Edition, Shelf
from supervisor.body import Context

SPLIT_SEED = 20
TRAINING_SHARE = 0.6
VALIDATION_SHARE = 0.2

NEIGHBOURS = tuple(product((0, 1, -1), repeat=2))
"""The nine places (rows, columns) that an image can be moved to, its own place first."""


def ingest(ctx: Context) -> None:
    """Write scikit-learn's handwritten digits as an edition with a checksum.

    Raises:
        ValueError: what came in does not look like the digits.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    _check(images, labels)
    edition = _datasets_in(ctx.data).publish(
        {"images": images.astype(np.uint8), "labels": labels.astype(np.uint8)},
        {"images": len(images), "source": "scikit-learn load_digits"},
    )
    ctx.progress(len(images), len(images))
    ctx.status(f"{len(images)} images, {edition.name}, sha256 {edition.digest[:12]}")


def features(ctx: Context) -> None:
    """Split the digits and publish what models learn from and are judged by.

    The training digits appear nine times, each moved by at most one pixel: a hand does not write
    in the middle of the box.
    """
    dataset = _datasets_in(ctx.data).require_newest()
    arrays = dataset.load()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(arrays["images"]))
    images, labels = arrays["images"][order], arrays["labels"][order]
    training_end = int(len(order) * TRAINING_SHARE)
    validation_end = training_end + int(len(order) * VALIDATION_SHARE)
    training = images[:training_end]
    moved = np.concatenate([move(training, rows, columns) for rows, columns in NEIGHBOURS])
    edition = _features_in(ctx.data).publish(
        {
            "training": model.features(moved),
            "training_labels": np.tile(labels[:training_end], len(NEIGHBOURS)),
            "validation": model.features(images[training_end:validation_end]),
            "validation_labels": labels[training_end:validation_end],
            "held_out_images": images[validation_end:],
            "held_out_labels": labels[validation_end:],
        },
        {"dataset": dataset.digest, "split_seed": SPLIT_SEED},
    )
    ctx.progress(len(order), len(order))
    ctx.status(f"{len(moved)} training rows from {dataset.name}, {edition.name}")


@dataclass(frozen=True, slots=True)
class Features:
    """What `features` published; see there for the meaning of each array."""

    digest: str
    training: np.ndarray
    training_labels: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray

    @property
    def unmoved(self) -> slice:
        """The rows of `training` that show the digits where they were written."""
        return slice(len(self.training) // len(NEIGHBOURS))


def read_features(data: Path) -> Features:
    """Load the newest features of a pipeline's data folder.

    Raises:
        FileNotFoundError: `features` has not published yet.
    """
    edition = _features_in(data).require_newest()
    return Features(digest=edition.digest, **edition.load())


def move(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Move images by at most one pixel; what leaves the box is lost, what enters is blank.

    Args:
        images: shape (n, 64).
        rows: down for 1, up for -1.
        columns: right for 1, left for -1.

    Returns:
        Shape (n, 64), same type.
    """
    grid = images.reshape(-1, SIDE, SIDE)
    framed = np.pad(grid, ((0, 0), (1, 1), (1, 1)))
    top, left = 1 - rows, 1 - columns
    return framed[:, top : top + SIDE, left : left + SIDE].reshape(-1, PIXELS)


def _check(images: np.ndarray, labels: np.ndarray) -> None:
    if images.ndim != 2 or images.shape[1] != PIXELS or len(images) != len(labels):
        raise ValueError(f"expected images of {PIXELS} pixels with labels, got {images.shape}")
    if images.min() < 0 or images.max() > FULL_INK:
        raise ValueError(f"expected ink 0..{FULL_INK}, got {images.min()}..{images.max()}")
    if set(np.unique(labels)) != set(range(model.CLASSES)):
        raise ValueError(f"expected the labels 0..9, got {sorted(set(labels))}")


def _datasets_in(data: Path) -> Shelf:
    return Shelf(data / "dataset")


def _features_in(data: Path) -> Shelf:
    return Shelf(data / "features")


__all__ = ["Edition", "Features", "features", "ingest", "move", "read_features"]
