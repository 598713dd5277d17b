"""The only file that imports tenacity: bounded patience for our own input and output.

A database that somebody else is writing, a Ray that is just starting: seconds at most, and then
the last error is raised. Never around a segment's start: restarts are the core's, and two layers
of retry multiply. This is what the other adapters may share; it is no adapter of a port itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

T = TypeVar("T")


def patiently(
    operation: Callable[[], T],
    *,
    when: Callable[[BaseException], bool],
    patience_s: float,
    first_wait_s: float = 0.005,
    longest_wait_s: float = 0.25,
) -> T:
    """Return what the operation returns, trying again while it fails in an expected way.

    Args:
        operation: must change nothing when it fails.
        when: tells the errors that pass by themselves from those that do not.
        patience_s: no further try is begun after this many seconds.
        first_wait_s: upper bound of the first wait; the bound doubles, and the wait is spread at
            random below it, so that two who wait for each other do not meet again.
        longest_wait_s: upper bound of every later wait.

    Raises:
        BaseException: the last error, as it was raised.
    """
    try:
        return operation()  # the common case costs nothing
    except Exception as error:
        if not when(error):
            raise
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(when),
        stop=tenacity.stop_after_delay(patience_s),
        wait=tenacity.wait_random_exponential(multiplier=first_wait_s, max=longest_wait_s),
        reraise=True,
    )(operation)
