"""The pure core: what to do about what happened. Standard library only; no clock, no I/O.

Read `machine.py` first, then `transitions.py`; docs/semantics.md is the contract in prose.
"""
