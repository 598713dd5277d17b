"""Data, models and training: repeatable, resumable, and never worse in public than before."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segments.dataset import features, ingest, move, read_features
from segments.faults import Faults, InjectedCrash
from segments.learning import baseline, train
from segments.model import Model, models_in
from segments.shelf import Shelf
from stand_in import StandIn

Contexts = Callable[..., Any]
SMALL = {"epochs": 5, "hidden": 16}


def test_ingest_writes_all_digits_with_their_checksum(prepared: Path) -> None:
    """1,797 images, and the SHA-256 in facts.json is that of the file."""
    edition = Shelf(prepared / "dataset").require_newest()
    arrays = edition.load()
    assert arrays["images"].shape == (1797, 64)
    of_each_digit = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(arrays["labels"]).tolist() == of_each_digit
    content = (edition.folder / "arrays.npz").read_bytes()
    label = json.loads((edition.folder / "facts.json").read_text())
    assert label["digest"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("segment", "shelf"), [(ingest, "dataset"), (features, "features"), (baseline, "models")]
)
def test_a_data_segment_run_again_changes_nothing(
    context: Contexts, data: Path, segment: Callable[[Any], None], shelf: str
) -> None:
    """Equal input gives equal bytes, so the edition is found instead of added."""
    before = Shelf(data / shelf).editions()
    segment(context())
    assert Shelf(data / shelf).editions() == before


def test_nobody_learns_from_the_digits_it_is_judged_by(prepared: Path) -> None:
    """The three parts of the split add up to all digits."""
    split = read_features(prepared)
    images = Shelf(prepared / "dataset").require_newest().load()["images"]
    learned = {row.tobytes() for row in split.training[split.unmoved][:, :64]}
    held_out = {row.tobytes() for row in split.held_out_images.astype(np.float32) / 16}
    validation = {row.tobytes() for row in split.validation[:, :64]}
    assert not learned & held_out
    assert not learned & validation
    assert not validation & held_out
    assert len(learned) + len(held_out) + len(validation) == len(np.unique(images, axis=0))


def test_moving_an_image_loses_what_leaves_the_box() -> None:
    """Down and to the right by one, with blank ink entering."""
    image = np.arange(64, dtype=np.uint8).reshape(1, 64)
    moved = move(image, 1, 1).reshape(8, 8)
    assert not moved[0].any()
    assert not moved[:, 0].any()
    np.testing.assert_array_equal(moved[1:, 1:], image.reshape(8, 8)[:-1, :-1])


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")
def test_baseline_answers_as_scikit_learns_nearest_centroid(prepared: Path) -> None:
    """One layer of arithmetic gives the same digits as the library's own classifier."""
    from sklearn.neighbors import NearestCentroid

    split = read_features(prepared)
    rival = NearestCentroid().fit(
        split.training[split.unmoved], split.training_labels[split.unmoved]
    )
    ours = Model.from_arrays(models_in(prepared).require_newest().load())
    np.testing.assert_array_equal(ours.classify(split.validation), rival.predict(split.validation))
    assert (ours.predict(split.held_out_images) == split.held_out_labels).mean() > 0.85


def test_a_published_network_answers_as_the_one_that_was_trained(prepared: Path) -> None:
    """Plain arrays lose nothing of scikit-learn's network."""
    from sklearn.neural_network import MLPClassifier

    split = read_features(prepared)
    network = MLPClassifier(hidden_layer_sizes=(12, 9), max_iter=3, random_state=1)
    with pytest.warns(UserWarning, match="iterations"):
        network.fit(split.training[:500], split.training_labels[:500])
    model = Model.from_arrays(Model.from_layers(network.coefs_, network.intercepts_).to_arrays())
    np.testing.assert_array_equal(
        model.classify(split.validation), network.predict(split.validation)
    )


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the small model that a training without any trouble gives."""
    data = tmp_path_factory.mktemp("undisturbed") / "data"
    shutil.copytree(prepared, data)
    train(StandIn(data, **SMALL))
    return trained(data)[-1]


def trained(data: Path) -> list[str]:
    """Digests of what `train` published, oldest first."""
    editions = models_in(data).editions()
    return [one.digest for one in editions if one.facts["made_by"] == "train"]


def test_a_training_that_crashed_continues_to_the_same_model(
    context: Contexts, data: Path, undisturbed: str
) -> None:
    """An exception in the second epoch, and the next life goes on after the first."""
    with pytest.raises(InjectedCrash, match="bad batch"):
        train(context(**SMALL, crash="bad batch"))
    assert trained(data) == []
    second = context(**SMALL)
    train(second)
    assert [done for done, _ in second.reports] == [2, 3, 4, 5]
    assert trained(data) == [undisturbed]


def test_a_fault_strikes_in_every_life_however_little_is_left(
    context: Contexts, data: Path
) -> None:
    """A training that always crashes never finishes by resuming."""
    for _ in range(2 * SMALL["epochs"]):
        with pytest.raises(InjectedCrash):
            train(context(**SMALL, crash="bad batch"))
    assert trained(data) == []


def test_a_training_that_was_stopped_publishes_nothing_and_continues(
    context: Contexts, data: Path, undisturbed: str
) -> None:
    """It ends with a sentence and a failing exit code, never as if it had finished."""
    first = context(**SMALL)
    first.on_progress = lambda done: first.stopping.set() if done == 4 else None
    with pytest.raises(SystemExit, match="epoch 4 of 5"):
        train(first)
    assert trained(data) == []
    train(context(**SMALL))
    assert trained(data) == [undisturbed]


def test_a_finished_training_leaves_no_checkpoint(
    context: Contexts, data: Path, undisturbed: str
) -> None:
    """Run again, it trains from the beginning and finds its model published already."""
    train(context(**SMALL))
    again = context(**SMALL)
    train(again)
    assert [done for done, _ in again.reports] == [1, 2, 3, 4, 5]
    assert trained(data) == [undisturbed]


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04K\x01."])
def test_a_checkpoint_that_cannot_be_read_is_not_the_end(
    context: Contexts, data: Path, undisturbed: str, content: bytes
) -> None:
    """Training starts anew, says so, and gives the same model."""
    ctx = context(**SMALL)
    (ctx.checkpoint / "training.pickle").write_bytes(content)
    train(ctx)
    assert trained(data) == [undisturbed]


def test_a_checkpoint_of_other_features_is_not_continued(context: Contexts, data: Path) -> None:
    """New data means a new beginning."""
    with pytest.raises(InjectedCrash):
        train(context(**SMALL, crash="x"))
    shelf = Shelf(data / "features")
    arrays = shelf.require_newest().load()
    shelf.publish({**arrays, "training": arrays["training"] * 0.5}, {"dataset": "other"})
    second = context(**SMALL)
    train(second)
    assert second.reports[0] == (1, 5)


def test_a_model_worse_than_the_newest_is_kept_but_not_used(context: Contexts, data: Path) -> None:
    """The pointer still names baseline's model after a training that went badly."""
    train(context(epochs=1, hidden=2))
    assert len(trained(data)) == 1
    assert models_in(data).require_newest().facts["made_by"] == "baseline"


@pytest.mark.slow
def test_a_proper_training_beats_the_baseline(context: Contexts, data: Path) -> None:
    """Its model is the newest good one, far ahead on digits that it never saw."""
    train(context(epochs=30, hidden=128))
    newest = models_in(data).require_newest()
    split = read_features(data)
    accuracy = (
        Model.from_arrays(newest.load()).predict(split.held_out_images) == split.held_out_labels
    ).mean()
    assert newest.facts["made_by"] == "train"
    assert accuracy > 0.95


LEAK_AND_MEASURE = """
import sys
from pathlib import Path
from stand_in import StandIn
from segments.faults import Faults

def resident_kib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])

ctx = StandIn(Path(sys.argv[1]))
faults = Faults({"leak": "80MiB"})
before = resident_kib()
faults.strike(ctx)
print(resident_kib() - before, len(ctx.statuses), ctx.statuses[-1])
"""


def test_a_leak_is_resident_memory_and_says_how_far_it_is(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    """Every page is touched: what is not touched is not charged to any quota."""
    said = run_python(LEAK_AND_MEASURE, tmp_path / "data").split(maxsplit=2)
    assert int(said[0]) >= 78 * 1024
    assert said[1:] == ["3", "leaked 80 of 80 MiB\n"]


def test_a_leak_ends_when_a_stop_is_asked_for(context: Contexts) -> None:
    """`train` can be stopped gracefully while it leaks."""
    ctx = context()
    ctx.on_status = lambda _text: ctx.stopping.set()
    Faults({"leak": "1GiB"}).strike(ctx)
    assert ctx.statuses == ["leaked 32 of 1024 MiB"]


def test_spinning_processes_end_with_the_training(context: Contexts) -> None:
    """As many as asked for, all busy, none left."""
    with Faults({"spin": 2}) as faults:
        faults.strike(context())
        spinning = list(faults._busy)
        assert [process.poll() for process in spinning] == [None, None]
    assert [process.returncode for process in spinning] == [-9, -9]


def test_no_fault_is_the_default(context: Contexts) -> None:
    """Without parameters nothing is said, held, started or raised."""
    ctx = context()
    threads = threading.active_count()
    with Faults({}) as faults:
        faults.strike(ctx)
        assert (ctx.statuses, faults._held, faults._busy) == ([], [], [])
    assert threading.active_count() == threads
