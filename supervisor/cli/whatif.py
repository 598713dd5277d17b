"""`psup plan FILE --if train=oom`: who would stop, who starts again and when, who stays untouched.

Decides how faults are typed and how a forecast is told; the forecast itself is the core's
(`core/foresight.py`). Must start nothing and need no daemon.
Read next: `plan.py` (the command), docs/json.md (the shape of `--json`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supervisor.cli.render import fields
from supervisor.cli.targets import Candidate, resolve, segments_below
from supervisor.cli.words import count, did_you_mean, listing
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.foresight import Fate, Foresight, rehearse
from supervisor.core.spec import NodeSpec, Path, SegmentSpec, SupervisorSpec
from supervisor.errors import SpecError

SCHEMA_VERSION = 1

_FAULTS: Mapping[str, ExitReason] = {
    "crash": ExitReason(ExitKind.ERROR, "crash"),
    "error": ExitReason(ExitKind.ERROR, "crash"),
    "exit": ExitReason(ExitKind.EXIT, "1"),
    "signal": ExitReason(ExitKind.SIGNAL, "SIGSEGV"),
    "quota": ExitReason(ExitKind.QUOTA, "disk"),
    "oom": ExitReason(ExitKind.OOM),
    "hang": ExitReason(ExitKind.HANG),
    "start_timeout": ExitReason(ExitKind.START_TIMEOUT),
    "deadline": ExitReason(ExitKind.DEADLINE),
    "node_lost": ExitReason(ExitKind.NODE_LOST),
    "completed": ExitReason(ExitKind.COMPLETED),
}
"""The words for faults; those with a detail take another one in brackets."""

FAULT_WORDS = tuple(_FAULTS)

_FAULT = re.compile(r"(?P<word>\w+)(?:\[(?P<detail>[^\]]+)\])?")
_TIMES_SHOWN = 6
_UNNOTICED = {
    ExitKind.HANG: "hangs for ever, and nobody notices: it has no `alive` probe",
    ExitKind.DEADLINE: "runs on for ever: it has no time quota",
}
_ENDINGS = {
    "gave_up": "stays down",
    "failed": "fails and stays down",
    "completed": "is done",
    "dropped": "is stopped with its group and not started again",
}


def what_if(spec: SupervisorSpec, typed: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the forecast for a pipeline as lines and as JSON.

    Args:
        spec: the pipeline.
        typed: faults as `target=word`, for example `train=oom` or `*=node_lost`.

    Raises:
        SpecError: no fault is called so.
        NoSuchTarget: no node, or more than one, is called so.
    """
    faults = parse_faults(spec, typed)
    forecast = rehearse(spec, faults)
    return list(_lines(spec, faults, forecast)), _facts(faults, forecast)


def parse_faults(spec: SupervisorSpec, typed: Sequence[str]) -> dict[Path, ExitReason]:
    """Return what fails, and how; a supervisor stands for all segments below it.

    Raises:
        SpecError: no fault is called so.
        NoSuchTarget: no node, or more than one, is called so.
    """
    every = [Candidate(path, _kind(node)) for path, node in walk(spec)]
    faults: dict[Path, ExitReason] = {}
    for text in typed:
        target, _, fault = text.partition("=")
        reason = fault_called(fault)
        paths = segments_below(resolve([target], every), every)
        faults.update(dict.fromkeys(paths, reason))
    return faults


def fault_called(text: str) -> ExitReason:
    """Return how a life ends by that fault.

    >>> str(fault_called("crash")), str(fault_called("exit[42]"))
    ('error(crash)', 'exit(42)')

    Raises:
        SpecError: no fault is called so.
    """
    found = _FAULT.fullmatch(text)
    known = _FAULTS.get(found["word"]) if found else None
    if found is None or known is None:
        raise SpecError(
            f"{text!r} is no fault{did_you_mean(text, FAULT_WORDS)}",
            hint=f"write one of {listing([*FAULT_WORDS])}; as in --if train=oom",
        )
    detail = found["detail"]
    if detail and not known.detail:
        raise SpecError(f"{text!r}: {known.kind.value} takes no detail in brackets")
    return ExitReason(known.kind, detail) if detail else known


def walk(node: NodeSpec, above: str = "") -> Iterator[tuple[Path, NodeSpec]]:
    """Yield every node with its path, parents before children."""
    path = f"{above}/{node.name}" if above else node.name
    yield path, node
    if isinstance(node, SupervisorSpec):
        for child in node.children:
            yield from walk(child, path)


def at(seconds: float) -> str:
    """Return a time of a forecast.

    >>> at(0.0), at(1.0), at(2.25), at(217.0), at(3900.0)
    ('+0s', '+1s', '+2.2s', '+3m37s', '+1h5m')
    """
    if seconds < 60:
        return f"+{seconds:.1f}".removesuffix(".0") + "s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"+{minutes}m" + (f"{rest_s}s" if rest_s else "")
    return f"+{minutes // 60}h" + (f"{minutes % 60}m" if minutes % 60 else "")


def times(moments_s: Sequence[float]) -> str:
    """Return a row of moments, its middle left out when it is long.

    >>> times([1.0, 3.0, 7.0]), times([1.0] * 9 + [90.0])
    ('+1s, +3s, +7s', '+1s, +1s, +1s, +1s, +1s, ... +1m30s')
    """
    if len(moments_s) <= _TIMES_SHOWN:
        return ", ".join(map(at, moments_s))
    return ", ".join(map(at, moments_s[: _TIMES_SHOWN - 1])) + f", ... {at(moments_s[-1])}"


# ------------------------------------------------------------------------------------------- lines


def _lines(
    spec: SupervisorSpec, faults: Mapping[Path, ExitReason], forecast: Foresight
) -> Iterator[str]:
    yield f"when {spec.name} is up, this begins to fail and fails in every life: {_failing(faults)}"
    yield ""
    yield from fields(
        [
            (short(path), "\n".join(_story(path, fate, faults, forecast)))
            for path, fate in forecast.fates.items()
            if fate.touched or path in forecast.unnoticed
        ]
    )
    yield ""
    yield _untouched(spec, forecast)
    yield _end(forecast)


def _failing(faults: Mapping[Path, ExitReason]) -> str:
    """Return the faults in words, those of one kind together."""
    alike: dict[str, list[str]] = {}
    for path, reason in faults.items():
        alike.setdefault(str(reason), []).append(short(path))
    return "; ".join(f"{listing(paths)} ({reason})" for reason, paths in alike.items())


def _story(
    path: Path, fate: Fate, faults: Mapping[Path, ExitReason], forecast: Foresight
) -> Iterator[str]:
    if path in forecast.unnoticed:
        yield _UNNOTICED[faults[path].kind]
    if fate.failures:
        yield f"{faults[path]} at {times(fate.failures)}"
    if fate.stops:
        yield f"stopped at {times(fate.stops)}"
    if fate.starts:
        yield f"starts again at {times(fate.starts)}"
    if fate.gave_up_s is not None:
        yield f"gives up at {at(fate.gave_up_s)}: {fate.limit}"
    if fate.blocked_by:
        yield f"waits for {listing([short(one) for one in fate.blocked_by])}, for ever"
    elif fate.how:
        yield _ENDINGS[fate.how]
    elif fate.end in {"idle", "down"}:
        yield "stays down with its supervisor"
    elif fate.end == "up" and "/" not in path:
        yield "counts as failed; all others go on"
    elif path not in forecast.unnoticed:
        yield "is up again" if fate.end in {"running", "up"} else f"is {fate.end} for ever"


def _untouched(spec: SupervisorSpec, forecast: Foresight) -> str:
    segments = [path for path, node in walk(spec) if isinstance(node, SegmentSpec)]
    hit = {*forecast.touched, *forecast.unnoticed}
    spared = [short(path) for path in segments if path not in hit]
    if not spared:
        return "untouched: nobody"
    return f"untouched: {listing(spared)} ({len(spared)} of {count(len(segments), 'segment')})"


def _end(forecast: Foresight) -> str:
    if forecast.settled_s is None:
        return "it never settles by itself"
    end = "the pipeline goes down" if forecast.halted else "all is settled"
    return f"{end} at {at(forecast.settled_s)}; delays are told without their jitter"


def short(path: Path) -> str:
    """Return a path as it is below its pipeline."""
    return path.partition("/")[2] or path


def _kind(node: NodeSpec) -> str:
    return node.kind.value if isinstance(node, SegmentSpec) else "supervisor"


# -------------------------------------------------------------------------------------------- JSON


def _facts(faults: Mapping[Path, ExitReason], forecast: Foresight) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "faults": {path: str(reason) for path, reason in faults.items()},
        "settled_s": forecast.settled_s,
        "halted": forecast.halted,
        "nodes": [
            {
                "path": path,
                "touched": fate.touched,
                "noticed": path not in forecast.unnoticed,
                "failures_s": fate.failures,
                "starts_s": fate.starts,
                "stops_s": fate.stops,
                "gave_up_s": fate.gave_up_s,
                "limit": fate.limit,
                "blocked_by": list(fate.blocked_by),
                "before": fate.before,
                "end": fate.end,
                "how": fate.how,
            }
            for path, fate in forecast.fates.items()
        ],
        "untouched": [path for path, fate in forecast.fates.items() if not fate.touched],
    }
