"""Where a policy's name leads: to a file beside the pipeline, or to one that is shipped.

Decides which file a name means and that a policy is valid by itself, so that its mistakes are
reported once and in its own file, not in every segment that uses it.
Read next: `keys.py` (`POLICY`: what may stand in one), `build.py` (how it is laid under a segment).
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path

from supervisor.config.document import Table
from supervisor.config.files import read_small_file
from supervisor.config.keys import POLICY
from supervisor.config.problems import Mark, Problem, closest, listed, shown
from supervisor.config.shapes import INVALID, Reading, ticked
from supervisor.config.strict_yaml import parse

_FOLDER = "policies"
_SUFFIX = ".yaml"


def shipped_folder() -> Traversable:
    """Return the folder of the policies that come with the program.

    An installed program carries them as `supervisor.policies`; a source checkout has them beside
    the package.
    """
    try:
        return importlib.resources.files("supervisor.policies")
    except ModuleNotFoundError:
        return Path(__file__).parents[2] / _FOLDER


@dataclass(slots=True)
class Policies:
    """The policies that one pipeline can name; each file is read once.

    Args:
        folder: the pipeline file's folder.
        reading: where problems go.
    """

    folder: Path
    reading: Reading
    _files: dict[str, Traversable | None] = field(default_factory=dict)  # None: there is none
    _read: dict[str, Table | None] = field(default_factory=dict)  # None: it is wrong

    def find(self, name: str, mark: Mark, key: str) -> Table | None:
        """Return the settings of a policy; None after a problem was reported.

        Args:
            name: the policy's name.
            mark: where it is named, for the problem that there is none.
            key: the key path there.
        """
        if name not in self._files:
            self._files[name] = self._file(name, mark, key)
        file = self._files[name]
        if file is None:
            self._refuse(name, mark, key)
            return None
        if name not in self._read:
            self._read[name] = self._settings(file)
        return self._read[name]

    def _refuse(self, name: str, mark: Mark, key: str) -> None:
        known, message = self.names(), "no policy has that name"
        found, allowed, meant = shown(name), listed(known), ticked(closest(name, known))
        self.reading.error(mark, key, message, found=found, allowed=allowed, suggestion=meant)

    def names(self) -> Sequence[str]:
        """Return the names of all policies, the pipeline's own and the shipped ones."""
        own = self.folder / _FOLDER
        files = [*(own.iterdir() if own.is_dir() else ()), *shipped_folder().iterdir()]
        return sorted(
            {file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)}
        )

    def _file(self, name: str, mark: Mark, key: str) -> Traversable | None:
        own = self.folder / _FOLDER / f"{name}{_SUFFIX}"
        shipped = shipped_folder() / f"{name}{_SUFFIX}"
        if not own.is_file():
            return shipped if shipped.is_file() else None
        if shipped.is_file() and own.resolve() != Path(str(shipped)).resolve():
            message = f"the policy beside the pipeline hides the shipped one, {shown(name)}"
            self.reading.findings.warn(Problem(mark, key, message))
        return own

    def _settings(self, file: Traversable) -> Table | None:
        findings = self.reading.findings
        before = len(findings.errors)
        data = read_small_file(file, findings)
        table = parse(data, str(file), findings) if data is not None else None
        if table is None or POLICY.read(table, "", self.reading) is INVALID:
            return None
        if len(findings.errors) > before:
            return None
        entries = {
            k: e for k, e in table.entries.items() if k in POLICY.keys and k != "description"
        }
        return Table(entries, table.mark)
