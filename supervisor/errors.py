"""Every error that a person may see, each with the exit code of the program it ends.

An error is named after who must act: the user (a file, a target), the machine (Ray, the store), or
us (`IllegalEvent`). Messages say what happened, where, what was expected, and what to type next.
`cli/main.py` is the only place that turns them into text; nothing else prints or exits.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_DEGRADED = 3
EXIT_NO_TARGET = 4
EXIT_GAVE_UP = 5
EXIT_TIMED_OUT = 6
EXIT_NO_DAEMON = 7


class SupervisorError(Exception):
    """Base of all errors of this program.

    Args:
        message: what happened and where, one sentence without a final newline.
        hint: what the person can type or change next; empty when there is nothing to add.
    """

    exit_code = EXIT_ERROR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(SupervisorError):
    """The pipeline file, a policy file or a `--set` is wrong; the user must change it."""

    exit_code = EXIT_USAGE
    code = "invalid_spec"


class NoSuchTarget(SupervisorError):
    """No pipeline, supervisor or segment answers to that name."""

    exit_code = EXIT_NO_TARGET


class AlreadyRunning(SupervisorError):
    """Another daemon owns the pipeline."""


class NotRunning(SupervisorError):
    """The pipeline is known, but no daemon runs it."""

    exit_code = EXIT_NO_DAEMON


class Refused(SupervisorError):
    """The daemon understood the request and declined it; nothing was changed."""

    code = "refused"


class AnotherPipeline(SpecError):
    """The spec is that of a pipeline of another name."""

    code = "another_pipeline"


class NodeChangedKind(SpecError):
    """A segment would become a supervisor of the same path, or the other way round."""

    code = "node_changed_kind"


class NotATemplate(Refused):
    """Only what has `replicas` can be scaled."""

    code = "not_a_template"


class TooManyChildren(Refused):
    """Another number of instances was asked for than is allowed."""

    code = "too_many_children"


class NoSuchField(Refused):
    """There is nothing of that name to set."""

    code = "no_such_field"


class MemoryInUse(Refused):
    """A body uses more memory now than the new limit would allow."""

    code = "memory_in_use"


class SpecLost(Refused):
    """The spec that a request speaks of is not there: the daemon was restarted meanwhile."""

    code = "spec_lost"


class TimedOut(SupervisorError):
    """What was waited for did not happen in the given time."""

    exit_code = EXIT_TIMED_OUT


class GaveUp(SupervisorError):
    """A segment, or the pipeline, used up its restarts."""

    exit_code = EXIT_GAVE_UP


class BackendUnavailable(SupervisorError):
    """Ray could not be started, joined or reached."""


class QuotaUnenforceable(SupervisorError):
    """`--strict-quotas` was given and this node cannot hold a declared quota."""


class StoreError(SupervisorError):
    """The state database could not be opened, read or written."""


class LostOwnership(StoreError):
    """Another daemon took the pipeline over; this one must stop acting at once."""


class IllegalEvent(SupervisorError):
    """The core was told something its table forbids: a bug of ours, never the user's."""
