"""The story that `psup why` tells: what happened, what comes next, who was touched, what to type.

Reads the store and the journal, decides nothing. Every sentence rests on something that was saved:
a life's evidence, a report of the core, an order to a sibling. Read next: `why.py` (prints it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from supervisor.cli import outlook
from supervisor.cli.given import attempt, given_words, tries_left
from supervisor.cli.picture import Node, View, walk
from supervisor.cli.store_reader import JournalRow, LifeRow, NodeRow, StoreReader
from supervisor.cli.words import age, count, countdown, exit_text, listing, printable, size

Json = Mapping[str, Any]

_TRACEBACK_LINES = 14
_LOG_LINES = 8
_EARLIER_LIVES = 4
_JOURNAL_LINES = 2000
_CLEAN = frozenset({"completed", "stopped"})
_COUPLINGS = frozenset({"group_restart", "gave_up", "escalated"})
_REACHING_ORDERS = frozenset({"Stop", "Kill"})


class Advice(NamedTuple):
    """A command line that can be typed as it stands, or a step for a person, and why."""

    command: str
    meaning: str


class Story(NamedTuple):
    """All that can be told of one node, each part as lines of text."""

    node: Node
    happened: list[str]
    ahead: list[str]
    touched: list[str]
    advice: list[Advice]
    lives: list[LifeRow]


class Teller:
    """Tells about the nodes of one pipeline.

    Args:
        reader: the open store.
        seen: the pipeline's picture.
        names: the shortest target of every path.
    """

    def __init__(self, reader: StoreReader, seen: View, names: Mapping[str, str]) -> None:
        self._reader = reader
        self._seen = seen
        self._names = names
        self._pictures = {node["path"]: node for node in walk(seen.root)}

    def tell(self, path: str) -> Story:
        """Return the story of one node."""
        node, row = self._pictures[path], self._seen.rows[path]
        if node["kind"] == "supervisor":
            return Story(
                node,
                self._branch_happened(node),
                self._branch_ahead(node, row),
                [],
                self._branch_advice(node),
                [],
            )
        lives = self._reader.lives(path, _EARLIER_LIVES + 2)
        finished = next((life for life in lives if life.ended_s is not None), None)
        return Story(
            node,
            self._segment_happened(node, row, lives),
            self._segment_ahead(node, row),
            self._touched(node, finished) if finished else [],
            self._segment_advice(node),
            lives,
        )

    def _ago(self, at_s: float | None) -> str:
        return "at an unknown time" if at_s is None else f"{age(self._seen.now_s - at_s)} ago"

    # ------------------------------------------------------------------------------ one segment

    def _segment_happened(self, node: Node, row: NodeRow, lives: Sequence[LifeRow]) -> list[str]:
        lines = self._present(node, lives)
        finished = [life for life in lives if life.ended_s is not None]
        if not finished:
            return lines
        latest, *earlier = finished
        if _told(node, latest)["kind"] in _CLEAN and node["state"] in ("running", "starting"):
            return lines
        lines += self._life_lines(node, row, latest)
        lines += [
            f"before that, life {life.incarnation} ended {self._ago(life.ended_s)}: {_end(life)}"
            for life in earlier[:_EARLIER_LIVES]
        ]
        return lines

    def _present(self, node: Node, lives: Sequence[LifeRow]) -> list[str]:
        """Say what it does now, if it lives or never did."""
        state = node["state"]
        if node["pid"] is not None:
            since = age(node["age_s"] or 0)
            what = f"{node['cause']}; " if node["cause"] else ""
            row = self._seen.rows[node["path"]]
            given = given_words(row.spec, row.state)
            lines = [f"{what}{state} for {since} (life {node['incarnation']}, pid {node['pid']})"]
            return lines + ([f"with {given}"] if given else [])
        if state == "stopped":
            return [node["cause"] if node["wanted"] else self._who_stopped(node)]
        if not lives:
            return ["it has not run yet"]
        return []

    def _who_stopped(self, node: Node) -> str:
        asks = self._reader.journal(self._seen.row.name, path=node["path"], kinds=("event",))
        asked = [line for line in asks if line.type == "StopRequested"]
        return f"psup stop was asked for {self._ago(asked[-1].at_s)}" if asked else "it was stopped"

    def _life_lines(self, node: Node, row: NodeRow, life: LifeRow) -> list[str]:
        evidence = life.evidence
        told = _told(node, life)
        began_s = life.ready_s or life.started_s
        lines = [f"life {life.incarnation} ended {self._ago(life.ended_s)}: {told['text']}"]
        facts = []
        if began_s is not None and life.ended_s is not None:
            facts.append(f"ran {age(life.ended_s - began_s)}")
        if life.pid is not None:
            facts.append(f"pid {life.pid}")
        if evidence.get("signal"):
            facts.append(f"ended by {evidence['signal']}")
        elif evidence.get("exit_code") is not None:
            facts.append(f"exit code {evidence['exit_code']}")
        if facts:
            lines.append(f"  {', '.join(facts)}")
        lines += _memory_lines(row, evidence)
        if evidence.get("killed_after_grace"):
            lines.append("  it did not go within its grace period and was killed")
        if told["kind"] not in _CLEAN:
            lines += _quoted("traceback", evidence.get("traceback"), _TRACEBACK_LINES)
            tail = "\n".join(evidence.get("last_log_lines") or ())
            lines += _quoted(f"last lines of {life.log or 'its log'}", tail, _LOG_LINES)
        return lines

    def _segment_ahead(self, node: Node, row: NodeRow) -> list[str]:
        state, planned = node["state"], node["next"]
        if state == "waiting":
            return [self._awaited(path) for path in node["waits_for"]]
        lines = [planned["text"]] if planned else []
        if state == "backoff" and planned:
            number = attempt(row.spec, row.state)
            left = tries_left(row.spec, row.state) or self._left(node, row)
            lines = [f"starts {planned['text']}, attempt {number}; {left}"]
            lines += self._storm(row)
        elif state == "pending":
            lines = ["starts when its supervisor gets to it"]
        elif state == "done":
            lines = ["nothing: it has completed"]
        elif state == "running" and not planned:
            lines = [_if_it_fails(row)]
        return lines

    def _storm(self, row: NodeRow) -> list[str]:
        """Say that it waits longer because too much fails at once."""
        reports = self._reader.journal(
            self._seen.row.name,
            path=row.path,
            kinds=("report",),
            since_s=row.state["since_s"],
            limit=4,
        )
        return [line.data["text"] for line in reports if line.type == "restart_storm"]

    def _awaited(self, path: str) -> str:
        other = self._pictures.get(path)
        if other is None:
            return f"starts when {path} has completed"
        end = "is ready" if other["kind"] == "service" else "has completed"
        now = " → ".join(
            part for part in (other["cause"], (other["next"] or {}).get("text", "")) if part
        )
        words = f" ({other['state']}{': ' + now if now else ''})"
        return f"starts when {other['name']} {end}{words}"

    def _left(self, node: Node, row: NodeRow) -> str:
        """Say how many restarts are left and what giving up would mean."""
        account = node["restarts"]
        left = max(0, account["allowed"] - account["used"])
        window_s = account["window_s"]
        window = f" within {countdown(window_s)}" if window_s is not None else ""
        allowed = f"{count(left, 'more restart')}{window}" if left else "no more restarts"
        if account["of"] == "segment":
            return f"after it {allowed} allowed, then it gives up and stays down, alone"
        parent = self._seen.rows[row.parent]
        return f"after it {allowed} allowed, then {_give_up(parent)}"

    def _touched(self, node: Node, life: LifeRow) -> list[str]:
        """Read from the journal whom the end of a life took along."""
        lines = self._reader.journal(
            self._seen.row.name, since_s=life.ended_s, limit=_JOURNAL_LINES
        )
        told = _from_exit(lines, node["path"], life.incarnation)
        if told is None or _told(node, life)["kind"] in _CLEAN:
            return []
        path = node["path"]
        reports = [
            line
            for line in told
            if line.kind == "report" and line.type in _COUPLINGS and _is_above(line.path, path)
        ]
        # A coupling is decided in the step that heard of the end; what comes later follows from it.
        if not reports or reports[0].at_s != told[0].at_s:
            return [self._untouched(path, life)]
        top = min((line.path for line in reports), key=len)
        stopped = dict.fromkeys(
            line.path
            for line in told
            if line.type in _REACHING_ORDERS
            and line.path != path
            and line.path.startswith(top + "/")
        )
        words = [f"{line.path.rpartition('/')[2]}: {line.data.get('text', '')}" for line in reports]
        if stopped:
            names = listing([other.rpartition("/")[2] for other in stopped])
            words.append(f"stopped with it: {names}")
        return words

    def _untouched(self, path: str, life: LifeRow) -> str:
        before_s = life.ended_s or 0.0
        steady = [
            f"{node['name']} (pid {node['pid']})"
            for node in self._pictures.values()
            if node["pid"] is not None
            and node["path"] != path
            and self._seen.rows[node["path"]].state.get("since_s", before_s) < before_s
        ]
        return f"nobody; {listing(steady)} went on in the same process" if steady else "nobody"

    def _segment_advice(self, node: Node) -> list[Advice]:
        name, state = self._names[node["path"]], node["state"]
        is_cared_for = self._seen.root["daemon_pid"] is not None
        commands = _ADVICE.get(state, ()) if is_cared_for else _ADVICE_WITHOUT_DAEMON
        advice = [Advice(text.format(name=name), meaning) for text, meaning in commands]
        if state == "waiting":
            advice = [
                Advice(f"psup why {self._names[path]}", "why that is not ready")
                for path in node["waits_for"]
                if path in self._names
            ]
        if outlook.is_about_memory(node["last_exit"]):
            limit = self._seen.rows[node["path"]].spec["quota"]["memory_bytes"]
            now = f", now {size(limit)}" if limit is not None else ""
            file = self._seen.row.info.get("file", "the pipeline file")
            advice.append(Advice(f"edit {file}", f"quota.memory of {node['name']}{now}"))
        return [*advice, *self._daemon_advice(), *_notes_advice(node)]

    def _daemon_advice(self) -> Iterable[Advice]:
        if self._seen.root["daemon_pid"] is None:
            file = self._seen.row.info.get("file", "FILE")
            yield Advice(f"psup launch {file}", "no daemon looks after this pipeline")

    # --------------------------------------------------------------------------------- a branch

    def _branch_happened(self, node: Node) -> list[str]:
        ailing = [
            below
            for below in walk(node)
            if below["kind"] != "supervisor" and below["state"] in ("backoff", "failed", "gave_up")
        ]
        lines = [node["cause"]] if node["cause"] else []
        lines += [f"{below['name']} is in {below['state']}: {below['cause']}" for below in ailing]
        window_s = node["restarts"]["window_s"]
        reports = self._reader.journal(
            self._seen.row.name,
            path=node["path"],
            kinds=("report",),
            since_s=self._seen.now_s - max(window_s, 3600.0),
            limit=6,
        )
        lines += [
            f"{self._ago(line.at_s)}, {line.path.rpartition('/')[2]}: {line.data.get('text', '')}"
            for line in reports
        ]
        return lines or [f"nothing: it is {node['state']}, and so is everything below it"]

    def _branch_ahead(self, node: Node, row: NodeRow) -> list[str]:
        account = node["restarts"]
        if node["state"] == "done":
            return ["nothing: it has finished"]
        lines = [node["next"]["text"]] if node["next"] else []
        lines.append(
            f"{account['used']} of {outlook.limit_words(account)} used; "
            f"with one too many {_give_up(row)}"
        )
        return lines

    def _branch_advice(self, node: Node) -> list[Advice]:
        name = self._names[node["path"]]
        ailing = [
            Advice(f"psup why {self._names[below['path']]}", f"it is in {below['state']}")
            for below in walk(node)
            if below is not node and below["state"] in ("backoff", "failed", "gave_up")
        ]
        if node["state"] == "stopped":
            ailing.append(Advice(f"psup start {name}", "all of it, in order"))
        elif node["state"] in ("gave_up", "degraded"):
            ailing.append(Advice(f"psup restart {name}", "all of it, in order; counters stay"))
        return [*ailing, *self._daemon_advice(), *_notes_advice(node)]


_ADVICE: Mapping[str, Sequence[tuple[str, str]]] = {
    "backoff": (
        ("psup logs {name} --previous", "all that it wrote"),
        ("psup restart {name}", "now, without waiting; no counter is touched"),
        ("psup stop {name}", "not again until psup start"),
    ),
    "gave_up": (
        ("psup logs {name} --previous", "all that it wrote"),
        ("psup restart {name}", "try again now"),
    ),
    "failed": (
        ("psup logs {name} --previous", "all that it wrote"),
        ("psup restart {name}", "try again now"),
    ),
    "stopped": (("psup start {name}", "take the stop back"),),
    "dropped": (("psup start {name}", "start it again"),),
    "done": (("psup restart {name}", "run it once more"),),
    "running": (("psup logs {name} -f", "watch what it writes"),),
    "starting": (("psup logs {name} -f", "watch it come up"),),
}


_ADVICE_WITHOUT_DAEMON = (("psup logs {name}", "what it wrote last"),)


def _notes_advice(node: Node) -> Iterable[Advice]:
    notes = node["notes"]
    if "runbook" in notes:
        yield Advice(notes["runbook"], "runbook")
    if "owner" in notes:
        yield Advice(f"ask {notes['owner']}", "owner")


def _told(node: Node, life: LifeRow) -> Json:
    """Return how a finished life ended; the node's own word for its latest one."""
    last = node["last_exit"]
    if last is not None and last.get("incarnation") == life.incarnation:
        return dict(last)
    reason = {"kind": life.reason_kind or "unknown", "detail": life.reason_detail or ""}
    return outlook.last_exit(reason, life.evidence) or {}


def _end(life: LifeRow) -> str:
    if life.reason_kind is None:
        return "unknown"
    return exit_text({"kind": life.reason_kind, "detail": life.reason_detail})


_HELD_BY: Mapping[str, str] = {
    "kernel": ", held by the kernel",
    "sampled": ", held by sampling",
    "none": ", which nobody holds",
}


def _memory_lines(row: NodeRow, evidence: Json) -> list[str]:
    peak_bytes = evidence.get("peak_memory_bytes")
    if peak_bytes is None:
        return []
    limits = evidence.get("quota") or {}
    limit_bytes = limits.get("memory_bytes", row.spec["quota"]["memory_bytes"])
    held = (evidence.get("enforcement") or {}).get("memory", "")
    words = f"  memory: peak {size(peak_bytes)}"
    if limit_bytes is not None:
        words += f" of a quota of {size(limit_bytes)}"
        words += _HELD_BY.get(held, "")
    kills = evidence.get("oom_kills")
    if kills:
        words += f"; the kernel killed {count(kills, 'process')} of it"
    return [words]


def _quoted(title: str, text: str | None, most: int) -> list[str]:
    lines = [printable(line.rstrip()) for line in (text or "").splitlines() if line.strip()]
    return [f"  {title}:", *(f"    {line}" for line in lines[-most:])] if lines else []


def _if_it_fails(row: NodeRow) -> str:
    spec = row.spec
    if spec["restart"] == "temporary":
        return "if it fails, it stays down (temporary)"
    first_s = spec["backoff"]["first_s"]
    again = f"started again after {countdown(first_s)}" if first_s else "started again at once"
    return f"nothing is due; if it {_reaction(spec)}, it is {again}"


def _reaction(spec: Json) -> str:
    return "ends" if spec["restart"] == "permanent" else "fails"


def _give_up(row: NodeRow) -> str:
    """Say what it means when that supervisor's limit is used up."""
    name, restart = row.path.rpartition("/")[2], row.spec["restart"]
    if not row.parent:
        if row.spec["strategy"] == "one_for_one":
            return "it stays down and the pipeline has failed; what is healthy goes on"
        return f"the whole of {name} goes down"
    follows = _FATES[restart]
    return f"{name} gives up and {follows}"


_FATES: Mapping[str, str] = {
    "permanent": "its supervisor starts it again",
    "transient": "stays down; nothing beside it is touched",
    "temporary": "stays down; nothing beside it is touched",
}


def _from_exit(
    lines: Sequence[JournalRow], path: str, incarnation: int
) -> Sequence[JournalRow] | None:
    """Return what was written from the end of that life until the end of the next one."""
    ends = [
        index for index, line in enumerate(lines) if line.type == "Exited" and line.path == path
    ]
    own = [index for index in ends if lines[index].data.get("incarnation") == incarnation]
    if not own:
        return None
    later = [index for index in ends if index > own[0]]
    return lines[own[0] : later[0] if later else len(lines)]


def _is_above(supervisor: str, path: str) -> bool:
    return path.startswith(supervisor + "/")
