"""The mark that every process of a life carries in its environment, as `PSUP_TOKEN`.

Lets a life's processes be found where no control group holds them together, and lets a later
process tell whose leftovers they are. Pure.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from supervisor.core.spec import Path

VARIABLE = "PSUP_TOKEN"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose process it is.

    >>> str(Mark("h1", "digits/train", 3, "ab"))
    'h1:digits/train#3:ab'
    >>> Mark.parse("h1:digits/train#3:ab") == Mark("h1", "digits/train", 3, "ab")
    True
    >>> Mark.parse("something else") is None
    True

    Args:
        scope: keeps apart what different homes of the same user run under the same name.
        path, incarnation: the life.
        nonce: makes the mark unique on this node.
    """

    scope: str
    path: Path
    incarnation: int
    nonce: str

    @classmethod
    def fresh(cls, scope: str, path: Path, incarnation: int) -> Mark:
        """Return a mark that no other life has."""
        return cls(scope, path, incarnation, secrets.token_hex(8))

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Return what `str` wrote, or None for anything else."""
        scope, _, rest = text.partition(":")
        life, _, nonce = rest.rpartition(":")
        path, _, number = life.rpartition("#")
        if not (path and nonce and number.isdecimal()):
            return None
        return cls(scope, path, int(number), nonce)

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self.path.split("/", 1)[0]

    def __str__(self) -> str:
        return f"{self.scope}:{self.path}#{self.incarnation}:{self.nonce}"
