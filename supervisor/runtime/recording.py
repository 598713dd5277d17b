"""What one turn of the loop leaves in the store: its journal, its lives, its measurements.

Pure translation: facts in, rows out. It never decides what happens next, and never writes.
Read next: `driver.py` (who saves these), `ports.Commit` (what they become part of).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from supervisor.core.actions import Action, Report, Start
from supervisor.core.changes import Change
from supervisor.core.codec import encode_action, encode_event, encode_spec, encode_state
from supervisor.core.events import Event, Exited, ExitReason, Ready, Started
from supervisor.core.spec import Path
from supervisor.core.tree import Segment, Tree
from supervisor.runtime.ports import JournalEntry, LifeRecord, NodeRow, Notice, Sample

Fingerprint = Callable[[Path, str, str], str]
"""Path, name and value of an environment variable -> what tells a changed value from the same."""


def no_fingerprint(path: Path, name: str, value: str) -> str:
    """Tell nothing of a value: then no change of it can be seen."""
    del path, name, value
    return ""


def node_rows(tree: Tree, fingerprint: Fingerprint) -> Iterator[NodeRow]:
    """Yield every node as `show` may print it: parents first, no values of the environment."""
    for node in tree.nodes.values():
        if isinstance(node, Segment):
            kind, shown = node.spec.kind.value, encode_spec(node.spec, secrets=False)
            shown["env_fingerprints"] = {
                name: fingerprint(node.path, name, value)
                for name, value in node.spec.body.env.items()
            }
        else:
            kind, shown = "supervisor", encode_spec(replace(node.spec, children=()), secrets=False)
            del shown["children"]  # they have rows of their own
        parent = node.parent.path if node.parent is not None else ""
        yield NodeRow(node.path, parent, kind, node.position, shown, encode_state(node.state))


def journal_changes(path: Path, changes: Sequence[Change]) -> JournalEntry:
    """Return the line that tells of a changed spec; values of the environment are never in it."""
    told = [
        {
            "path": change.path,
            "sign": change.sign,
            "effect": change.effect.value,
            "fields": [field.name for field in change.fields],
        }
        for change in changes
    ]
    return JournalEntry("event", "SpecChanged", path, {"changes": told})


def journal_event(event: Event) -> JournalEntry:
    """Return the line that tells what the core heard."""
    data = dict(encode_event(event))
    data.pop("type", None)
    return JournalEntry("event", type(event).__name__, data.pop("path", ""), data)


def journal_action(action: Action) -> JournalEntry:
    """Return the line that tells what the core ordered or reported."""
    data = dict(encode_action(action))
    data.pop("type", None)
    if isinstance(action, Report):
        code = data.pop("code", action.code.value)
        return JournalEntry("report", code, data.pop("path", ""), data)
    return JournalEntry("action", type(action).__name__, data.pop("path", ""), data)


def life_begun(start: Start, at_s: float, log: str) -> LifeRecord:
    """Return the first line of a new life: it was ordered."""
    return LifeRecord(start.path, start.incarnation, started_s=at_s, log=log)


def life_told(notice: Notice, at_s: float, last_exit: ExitReason | None) -> LifeRecord | None:
    """Return what a notice adds to the record of its life.

    Args:
        notice: what the backend told.
        at_s: when.
        last_exit: why the core holds that the life ended; it knows of deadlines, the cell does not.
    """
    evidence = notice.evidence or None
    match notice.event:
        case Started(path, incarnation, pid, node):
            return LifeRecord(path, incarnation, pid=pid, node=node, evidence=evidence)
        case Ready(path, incarnation):
            return LifeRecord(path, incarnation, ready_s=at_s, evidence=evidence)
        case Exited(path, incarnation, reported):
            reason = last_exit or reported
            return LifeRecord(
                path,
                incarnation,
                ended_s=at_s,
                reason_kind=reason.kind.value,
                reason_detail=reason.detail,
                evidence=evidence,
            )
        case _:
            if evidence is None:
                return None
            return LifeRecord(notice.path, notice.incarnation, evidence=evidence)


def sample(notice: Notice, at_s: float) -> Sample:
    """Return a measurement as a row."""
    facts = notice.evidence
    done, total = _pair(facts.get("progress"))
    return Sample(
        path=notice.path,
        incarnation=notice.incarnation,
        at_s=at_s,
        memory_bytes=facts.get("memory_bytes"),
        cpu_cores=facts.get("cpu_cores"),
        processes=facts.get("processes"),
        open_files=facts.get("open_files"),
        disk_bytes=facts.get("disk_bytes"),
        status=facts.get("status"),
        progress_done=done,
        progress_total=total,
    )


def _pair(progress: Any) -> tuple[float | None, float | None]:
    return (None, None) if progress is None else (progress[0], progress[1])
