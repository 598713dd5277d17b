"""The cell: starts, watches, measures, stops and explains the bodies of one segment.

It runs no user code, so that it can always answer and tell the truth, and it knows no Ray: an actor
wraps it elsewhere. It decides no restart; it reports, and does what it is told.
Read next: `cell.py` (what callers see), `keeper.py` (its one thread), `life.py` (one incarnation).
"""

from supervisor.cell.cell import Cell
from supervisor.cell.order import order_from_json, order_to_json

__all__ = ["Cell", "order_from_json", "order_to_json"]
