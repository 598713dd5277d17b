"""Who makes models: `baseline`, which is there within a second, and `train`, which is better.

A model is published only when it is finished, by rename, so nobody ever meets half of one. The
pointer to the newest good model moves only to a model that is at least as accurate on the
validation digits as the one it names, unless the features themselves are new.
Read next: `model.py` (what is published), `faults.py` (how `train` is made to misbehave).
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segments.dataset import Features, read_features
from segments.faults import Faults
from segments.model import CLASSES, Model, models_in
from segments.shelf import Edition, Facts, write_durably
from supervisor.body import Context

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

TRAINING_SEED = 7
FAULTS_AFTER_EPOCHS = 2
"""In this epoch of each life `faults.py` strikes, or in the last one if there are fewer left."""


def baseline(ctx: Context) -> None:
    """Publish the nearest-centroid model: something good to serve from the first second on."""
    data = read_features(ctx.data)
    rows, labels = data.training[data.unmoved], data.training_labels[data.unmoved]
    centroids = [rows[labels == digit].mean(axis=0) for digit in range(CLASSES)]
    edition = _publish(ctx, Model.from_centroids(np.stack(centroids)), data, made_by="baseline")
    ctx.progress(CLASSES, CLASSES)
    ctx.status(_summary(edition))


def train(ctx: Context) -> None:
    """Train a network in epochs and publish it when the last one is done.

    A life that dies continues where its last checkpoint was written, and ends with exactly the
    model that an undisturbed run gives. Parameters: `epochs`, `hidden` (neurons in each of two
    layers), and those of `faults.py`.
    """
    from threadpoolctl import threadpool_limits

    epochs = int(ctx.params.get("epochs", 150))
    data = read_features(ctx.data)
    checkpoint = Path(ctx.checkpoint) / "training.pickle"
    training = _resume(ctx, checkpoint, data.digest) or _begin(ctx, data.digest)
    faults_due = min(training.epochs_done + FAULTS_AFTER_EPOCHS, epochs)
    with threadpool_limits(limits=1), Faults(ctx.params) as faults:
        while training.epochs_done < epochs:
            _leave_if_asked(ctx, training.epochs_done, epochs)
            training.learn_epoch(data)
            if training.epochs_done == faults_due:
                faults.strike(ctx)
            write_durably(checkpoint, pickle.dumps(training))
            ctx.progress(training.epochs_done, epochs)
    edition = _publish(ctx, training.model(), data, made_by="train")
    checkpoint.unlink(missing_ok=True)
    ctx.status(_summary(edition))


@dataclass(slots=True)
class Training:
    """A training run between two epochs; the checkpoint is this object.

    It is pickled because Adam's moments belong to it, and because the file is the segment's own:
    what others read is published as plain arrays.
    """

    features_digest: str
    network: MLPClassifier
    epochs_done: int = 0

    def learn_epoch(self, data: Features) -> None:
        """See every training digit once, in an order that depends on the epoch's number alone."""
        order = np.random.default_rng([TRAINING_SEED, self.epochs_done]).permutation(
            len(data.training)
        )
        self.network.partial_fit(
            data.training[order], data.training_labels[order], classes=np.arange(CLASSES)
        )
        self.epochs_done += 1

    def model(self) -> Model:
        """The network as plain arrays."""
        return Model.from_layers(self.network.coefs_, self.network.intercepts_)


def _begin(ctx: Context, features_digest: str) -> Training:
    from sklearn.neural_network import MLPClassifier

    hidden = int(ctx.params.get("hidden", 256))
    network = MLPClassifier(
        hidden_layer_sizes=(hidden, hidden),
        learning_rate_init=0.0003,
        alpha=0.001,
        shuffle=False,
        random_state=TRAINING_SEED,
    )
    return Training(features_digest=features_digest, network=network)


def _resume(ctx: Context, checkpoint: Path, features_digest: str) -> Training | None:
    """Load the checkpoint of an earlier life; None when there is none that fits."""
    if not checkpoint.exists():
        return None
    try:
        training = pickle.loads(checkpoint.read_bytes())  # noqa: S301  # our own file
        assert isinstance(training, Training)
    except Exception as error:  # noqa: BLE001  # unpickling raises whatever it likes
        # Another scikit-learn wrote it, perhaps. Training again is safe; failing for ever is not.
        ctx.logger.warning("cannot read the checkpoint, starting anew: %r", error)
        return None
    if training.features_digest != features_digest:
        ctx.logger.info("the checkpoint belongs to other features, starting anew")
        return None
    ctx.logger.info("resumed after epoch %d", training.epochs_done)
    return training


def _leave_if_asked(ctx: Context, done: int, total: int) -> None:
    """End unfinished when a stop was asked for: leaving with success would claim a model."""
    if ctx.stopping.is_set():
        raise SystemExit(f"stopped after epoch {done} of {total}; the checkpoint keeps it")


def _publish(ctx: Context, model: Model, data: Features, *, made_by: str) -> Edition:
    correct = model.classify(data.validation) == data.validation_labels
    facts: dict[str, Any] = {
        "features": data.digest,
        "made_by": made_by,
        "validation_accuracy": round(float(correct.mean()), 6),
    }
    return models_in(ctx.data).publish(model.to_arrays(), facts, replaces=_at_least_as_good)


def _at_least_as_good(current: Edition, facts: Facts) -> bool:
    other_features = current.facts["features"] != facts["features"]
    gain = float(facts["validation_accuracy"] - current.facts["validation_accuracy"])
    return other_features or gain >= 0


def _summary(edition: Edition) -> str:
    return f"model {edition.name}, {edition.facts['validation_accuracy']:.1%} on validation digits"
