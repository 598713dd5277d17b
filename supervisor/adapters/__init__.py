"""One outside product per file, each behind a port of `runtime/ports.py`."""
