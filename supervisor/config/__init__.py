"""Pipeline files in, specs out.

`load` is the only way from YAML to a tree that may be launched; it reports every problem at once.
The rest of the package is imported when it is first called, so that `supervisor.config.units` (how
quantities are written) costs nobody the YAML reader.
Read next: `pipeline.py` (the stages), `keys.py` (the vocabulary), `problems.py` (what goes wrong).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.config.problems import InvalidPipeline, Mark, Problem

if TYPE_CHECKING:
    from supervisor.config.pipeline import LoadedPipeline

__all__ = ["InvalidPipeline", "Mark", "Problem", "load"]


def load(
    file: Path, *, overrides: Sequence[str] = (), environment: Mapping[str, str]
) -> LoadedPipeline:
    """Return the pipeline that a file declares.

    Args:
        file: the pipeline file.
        overrides: `--set` options in their order, each `path.key=value`.
        environment: what `${VAR}` in the file stands for, and where programs are looked for.

    Raises:
        InvalidPipeline: the file, a policy or an override is wrong; it carries every problem.
    """
    from supervisor.config.pipeline import load_pipeline

    return load_pipeline(file, overrides, environment)
