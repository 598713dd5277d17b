"""How the bytes of a file are fetched: bounded, and never from something that could hang.

Decides that only regular files of at most 1 MiB are read, and what a person hears when a file is
missing or may not be read.
Read next: `strict_yaml.py` (what becomes of the bytes).
"""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from supervisor.config.problems import Findings, Mark, Problem, closest, shown

LARGEST_FILE_BYTES = 2**20


def read_small_file(
    file: Traversable, findings: Findings, *, named_at: Mark | None = None, key: str = ""
) -> bytes | None:
    """Return a file's content, or None after a problem was reported.

    Args:
        file: which.
        findings: where problems go.
        named_at: where another file names this one; None if a person did.
        key: the key that names it there.
    """
    try:
        message, suggestion = _refusal(file)
        if not message:
            with file.open("rb") as stream:
                data: bytes = stream.read(LARGEST_FILE_BYTES + 1)
            if len(data) <= LARGEST_FILE_BYTES:
                return data
            message = "the file is larger than 1MiB"
    except OSError as error:
        message, suggestion = f"the file cannot be read: {error.strerror or error}", ""
    mark = named_at or Mark(str(file), 1, 1)
    found = shown(str(file)) if named_at else ""
    findings.error(Problem(mark, key, message, found, suggestion=suggestion))
    return None


def _refusal(file: Traversable) -> tuple[str, str]:
    """Return why a file is not even opened, and what was probably meant; "" if it is."""
    if file.is_dir():
        return "a folder, not a file", _pipeline_inside(file)
    if file.is_file():
        return "", ""
    if isinstance(file, Path) and file.exists():
        return "not a regular file", ""
    return "no such file", _similar(file)


def _pipeline_inside(folder: Traversable) -> str:
    inside = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    best = "pipeline.yaml" if "pipeline.yaml" in inside else inside[0] if inside else ""
    return f"`{folder / best}`" if best else ""


def _similar(file: Traversable) -> str:
    """Return a file beside a missing one with nearly the same name."""
    if not isinstance(file, Path) or not file.parent.is_dir():
        return ""
    name = closest(file.name, (entry.name for entry in file.parent.iterdir()))
    return f"`{file.with_name(name)}`" if name else ""
