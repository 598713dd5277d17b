"""Editions are complete or absent, whatever kills the publisher, and however often it tries."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from segments.shelf import DamagedEdition, Shelf, write_durably

FACTS = {"made_by": "test"}


def numbers(value: int, size: int = 10) -> dict[str, np.ndarray]:
    return {"numbers": np.full(size, value)}


def test_the_newest_edition_is_what_was_published_last(tmp_path: Path) -> None:
    """Numbers count up, and arrays and facts come back equal."""
    shelf = Shelf(tmp_path / "shelf")
    assert shelf.newest() is None
    shelf.publish(numbers(1), FACTS)
    shelf.publish(numbers(2), {"made_by": "other"})
    newest = shelf.require_newest()
    assert (newest.number, newest.name, newest.facts) == (2, "v0002", {"made_by": "other"})
    np.testing.assert_array_equal(newest.load()["numbers"], numbers(2)["numbers"])


def test_the_digest_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    """Anyone can check an edition with sha256sum."""
    edition = Shelf(tmp_path).publish(numbers(1), FACTS)
    assert (
        edition.digest == hashlib.sha256((edition.folder / "arrays.npz").read_bytes()).hexdigest()
    )


def test_publishing_the_same_again_adds_nothing(tmp_path: Path) -> None:
    """A segment that is run again finds the edition of the life before."""
    shelf = Shelf(tmp_path)
    first = shelf.publish(numbers(1), FACTS)
    shelf.publish(numbers(2), FACTS)
    assert shelf.publish(numbers(1), FACTS) == first
    assert [edition.number for edition in shelf.editions()] == [1, 2]
    assert shelf.require_newest() == first


def test_the_pointer_stays_when_the_new_edition_does_not_replace_the_newest(
    tmp_path: Path,
) -> None:
    """The rule is asked with the newest edition and the new facts, and its no is heard."""
    shelf = Shelf(tmp_path)
    first = shelf.publish(numbers(1), FACTS)
    asked = []
    second = shelf.publish(
        numbers(2), {"n": 2}, replaces=lambda old, facts: bool(asked.append((old, facts)))
    )
    assert asked == [(first, {"n": 2})]
    assert second.number == 2
    assert shelf.require_newest() == first


def test_an_edition_whose_bytes_changed_is_refused(tmp_path: Path) -> None:
    """One flipped bit is enough."""
    edition = Shelf(tmp_path).publish(numbers(1), FACTS)
    file = edition.folder / "arrays.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedEdition, match=edition.digest):
        edition.load()


def test_writing_durably_leaves_no_second_file(tmp_path: Path) -> None:
    """The old content is replaced, and the temporary file is gone."""
    file = tmp_path / "pointer"
    write_durably(file, b"old")
    write_durably(file, b"new")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"pointer": b"new"}


KILLED_AT_EACH_STEP = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from segments.shelf import Shelf

    def die_at(step):
        count = 0
        def hook(event, _arguments):
            nonlocal count
            if event in {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}:
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)

    for step in range(1, 100):
        shelf = Shelf(Path(sys.argv[1]) / f"{step:02d}")
        shelf.publish({"numbers": np.full(10, 1)}, {"made_by": "test"})
        child = os.fork()
        if child == 0:
            die_at(step)
            shelf.publish({"numbers": np.full(10, 2)}, {"made_by": "test"})
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("never finished")
""")


def test_a_publisher_killed_at_any_step_leaves_the_old_edition_or_the_new_one(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    """SIGKILL before each file operation in turn: nothing half-made is visible, all go on."""
    run_python(KILLED_AT_EACH_STEP, tmp_path)
    shelves = [Shelf(folder) for folder in sorted(tmp_path.iterdir())]
    seen = []
    for shelf in shelves:
        for edition in shelf.editions():
            assert edition.load()["numbers"][0] == edition.number
            assert {file.name for file in edition.folder.iterdir()} == {"arrays.npz", "facts.json"}
        seen.append(shelf.require_newest().number)
        after = shelf.publish(numbers(3), FACTS)
        assert shelf.require_newest() == after
        assert {file.name for file in after.folder.iterdir()} == {"arrays.npz", "facts.json"}
        assert not (shelf.folder / ".unfinished").exists()
    assert len(seen) > 8, "the hook no longer sees the file operations"
    assert seen == sorted(seen), "the pointer moved before the edition was there"
    assert (seen[0], seen[-1]) == (1, 2)


PUBLISH_FOR_EVER = textwrap.dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from segments.shelf import Shelf

    shelf = Shelf(Path(sys.argv[1]))
    for turn in range(10_000):
        facts = {"turn": turn, "life": sys.argv[2]}
        edition = shelf.publish({"numbers": np.full(200_000, turn)}, facts)
        print(edition.number, flush=True)
""")


@pytest.mark.slow
def test_publishers_killed_at_random_moments_leave_no_partial_edition(
    with_import_path: dict[str, str], tmp_path: Path
) -> None:
    """Also in the middle of a write: every edition on the shelf loads and is numbered once."""
    chance = random.Random(3)
    shelf = Shelf(tmp_path)
    for life in range(8):
        publisher = subprocess.Popen(
            [sys.executable, "-c", PUBLISH_FOR_EVER, tmp_path, str(life)],
            env=with_import_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert publisher.stdout is not None
        publisher.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))  # the moment of death is what varies
        os.kill(publisher.pid, signal.SIGKILL)
        publisher.communicate()
        editions = shelf.editions()
        assert [one.number for one in editions] == list(range(1, len(editions) + 1))
        for edition in editions:
            assert (edition.load()["numbers"] == edition.facts["turn"]).all()
        assert shelf.require_newest().number in {editions[-1].number, editions[-1].number - 1}
