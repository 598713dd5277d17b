"""The heart's process: `python -m supervisor.daemon PIPELINE HOME PARCEL PROGRESS PLACE`."""

from __future__ import annotations

import sys

from supervisor.daemon.heart import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
