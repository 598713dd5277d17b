"""Room that folders take, walked without following links and without hurry."""

from __future__ import annotations

import queue
from pathlib import Path

from supervisor.cell.disk import DiskWatch, size_bytes


def test_blocks_of_all_files_below_are_counted(tmp_path: Path) -> None:
    """Deep files count, links and what they point to do not."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    outside = tmp_path.parent / "outside.bin"
    outside.write_bytes(b"x" * 500_000)
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 100_000 <= size_bytes(str(tmp_path)) < 200_000


def test_a_sparse_file_counts_what_it_holds(tmp_path: Path) -> None:
    """Blocks are counted, not lengths."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert size_bytes(str(tmp_path)) < 1 << 20


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    """A body may remove its scratch folder."""
    assert size_bytes(str(tmp_path / "none")) == 0


def test_the_watch_reports_the_sum(tmp_path: Path) -> None:
    """The first measurement comes at once."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "f").write_bytes(b"x" * 50_000)
    told: queue.Queue[int] = queue.Queue()
    watch = DiskWatch((str(tmp_path / "a"), str(tmp_path / "b")), told.put)
    watch.start()
    assert told.get(timeout=30) >= 100_000
    watch.stop()
