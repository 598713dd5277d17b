"""What runs inside a segment's own process: the way in, the runner, and the user's `Context`.

Standard library only, and little of it: every import here is paid again at every restart. Nothing
in this package may import the rest of `supervisor`. Read next: `enter.py` (first instruction of
every body), `__main__.py` (runner of `run:` bodies), `context.py` (what the user's code is given).
"""

from supervisor.body.context import Context

__all__ = ["Context"]
