"""What a model of the digits is, and how it answers: plain arrays and four lines of arithmetic.

Every model of this pipeline is a row of layers, each a matrix and a bias, with a ReLU between two
layers; nearest centroid is the case with one layer. That is why serving and evaluation need numpy
only, and why a model file holds numbers instead of pickled code.
`features` is the single way from pixels to numbers, so training and serving cannot drift apart.
Read next: `learning.py` (who makes models), `serving.py` (who asks them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segments.shelf import Edition, Shelf

CLASSES = 10
SIDE = 8
PIXELS = SIDE * SIDE
FULL_INK = 16
"""The largest value of a pixel in scikit-learn's digits."""


def features(images: np.ndarray) -> np.ndarray:
    """Turn images into what models read: pixels, then the ink of each row and of each column.

    Args:
        images: shape (n, 64), values 0..16.

    Returns:
        Shape (n, 80), every value a share of full ink, 0..1.
    """
    pixels = np.asarray(images, dtype=np.float32) / FULL_INK
    grid = pixels.reshape(-1, SIDE, SIDE)
    return np.concatenate([pixels, grid.mean(axis=2), grid.mean(axis=1)], axis=1)


@dataclass(frozen=True, slots=True)
class Model:
    """A classifier as arrays.

    Args:
        layers: (weights, bias) from the features to the ten scores.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Name the digit of each image, shape (n,)."""
        return self.classify(features(images))

    def classify(self, values: np.ndarray) -> np.ndarray:
        """Name the digit of each row of `features`, shape (n,)."""
        for weights, bias in self.layers[:-1]:
            values = np.maximum(values @ weights + bias, 0)
        weights, bias = self.layers[-1]
        digits: np.ndarray = np.argmax(values @ weights + bias, axis=1)
        return digits

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Name the arrays for an edition."""
        return {
            f"{part}_{position}": array
            for position, layer in enumerate(self.layers)
            for part, array in zip(("weights", "bias"), layer, strict=True)
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Model:
        """Build the model that `to_arrays` took apart."""
        count = len(arrays) // 2
        return cls(tuple((arrays[f"weights_{n}"], arrays[f"bias_{n}"]) for n in range(count)))

    @classmethod
    def from_layers(cls, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> Model:
        """Build a model from what scikit-learn calls `coefs_` and `intercepts_`."""
        pairs = zip(weights, biases, strict=True)
        return cls(tuple((np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in pairs))

    @classmethod
    def from_centroids(cls, centroids: np.ndarray) -> Model:
        """Build the model that answers with the nearest of ten centroids.

        The nearest centroid minimises |x - c|^2 = |x|^2 - 2 c.x + |c|^2, where |x|^2 is the same
        for all ten: it maximises 2 c.x - |c|^2, which is one layer.
        """
        return cls.from_layers([2 * centroids.T], [-(centroids**2).sum(axis=1)])


def models_in(data: Path) -> Shelf:
    """The shelf of models in a pipeline's data folder."""
    return Shelf(data / "models")


def describe(edition: Edition) -> dict[str, object]:
    """Say which model this is, the way reports and answers do."""
    return {
        "version": edition.number,
        "digest": edition.digest,
        "made_by": edition.facts["made_by"],
    }
