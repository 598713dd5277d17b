"""Supervise the segments of an ML pipeline as isolated Ray actors, Erlang style.

Deliberately nearly empty: `psup tree` and its kin import this package on every call and must stay
as fast as Python itself. Import what you need from `supervisor.core`, `supervisor.config`, ...
"""

__version__ = "0.1.0"
