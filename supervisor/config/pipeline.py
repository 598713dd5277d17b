"""The way from a file on disk to a pipeline that may be launched.

Decides the order: bytes, tree, overrides, spec; every stage adds its problems to one list, and only
the end decides whether there were any. Nothing here is printed.
Read next: `strict_yaml.py`, `overrides.py`, `build.py` (the three stages).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.config.build import build
from supervisor.config.files import read_small_file
from supervisor.config.overrides import apply_overrides
from supervisor.config.problems import Findings, Problem
from supervisor.config.shapes import Reading
from supervisor.config.strict_yaml import parse
from supervisor.core.spec import SupervisorSpec


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A valid pipeline.

    Args:
        spec: the tree.
        file: absolute path of the file.
        folder: absolute folder of the file, where its modules, policies and programs are found.
        warnings: what is allowed and probably not meant.
    """

    spec: SupervisorSpec
    file: Path
    folder: Path
    warnings: tuple[Problem, ...] = ()


def load_pipeline(
    file: Path, overrides: Sequence[str], environment: Mapping[str, str]
) -> LoadedPipeline:
    """Read, change and validate one pipeline file; see `supervisor.config.load`."""
    findings = Findings()
    reading = Reading(environment, findings)
    data = read_small_file(file, findings)
    root = parse(data, str(file), findings) if data is not None else None
    if root is None:
        findings.raise_errors()
        raise AssertionError("a file without a tree has a problem")
    absolute = file.resolve()
    changed = apply_overrides(root, overrides, reading)
    spec = build(changed, absolute.parent, reading)
    findings.raise_errors()
    return LoadedPipeline(spec, absolute, absolute.parent, findings.warnings)
