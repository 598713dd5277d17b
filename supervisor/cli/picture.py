"""Draws what the store knows about a pipeline as one nested, documented shape.

This is the shape of `psup tree --json` (`docs/json.md`), and every other read command shows parts
of it. It adds to the store only what the person would look up by hand: whether the daemon lives,
what a cgroup uses at this moment, which supervisors are degraded. Environment values are not in
the store, so they cannot be here. Must stay cheap to import and must never write.
Read next: `outlook.py` (causes and what is next), `tree.py` (how it looks).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from supervisor.cli import outlook
from supervisor.cli.given import quota_given
from supervisor.cli.home import Home
from supervisor.cli.live_memory import memory_now
from supervisor.cli.store_reader import LifeRow, NodeRow, PipelineRow, SampleRow, StoreReader
from supervisor.cli.targets import Candidate
from supervisor.cli.words import one_line, state_word
from supervisor.errors import EXIT_DEGRADED, EXIT_GAVE_UP, EXIT_OK, NotRunning
from supervisor.runtime.process_identity import boot_id, parent_is_alive

SCHEMA_VERSION = 1

Json = Mapping[str, Any]
Node = dict[str, Any]

_LIVE_PHASES = frozenset({"starting", "running", "stopping", "killing"})
_AILING_STATES = frozenset({"backoff", "failed", "gave_up", "degraded"})
_QUOTA_UNITS = ("_bytes", "_cores", "_s")
_SAMPLE_IS_NEWS_S = 120.0


class View(NamedTuple):
    """One pipeline as it stands at one moment.

    Args:
        row: the pipeline's own row.
        root: the documented shape of its root, children inside.
        rows: the stored node of every path.
        now_s: the steady time of the picture.
        wall_s: the same moment in Unix time.
    """

    row: PipelineRow
    root: Node
    rows: dict[str, NodeRow]
    now_s: float
    wall_s: float

    def node(self, path: str) -> Node:
        """Return the picture of one node of this pipeline."""
        return next(node for node in walk(self.root) if node["path"] == path)

    def iso(self, at_s: float | None) -> str | None:
        """Return a steady time as a UTC timestamp."""
        return iso(at_s, self.now_s, self.wall_s)


def open_store(home: Home) -> StoreReader:
    """Open the store for reading.

    Raises:
        NotRunning: nothing was ever launched with this `$PSUP_HOME`.
    """
    return StoreReader(home.state_db)


def launched(reader: StoreReader) -> list[PipelineRow]:
    """Return every pipeline that was ever launched.

    Raises:
        NotRunning: there is none.
    """
    rows = [row for row in reader.pipelines() if row.launched_s is not None]
    if not rows:
        raise NotRunning("no pipeline was launched yet", hint="psup launch FILE starts one")
    return rows


def candidates(reader: StoreReader, pipelines: Iterable[PipelineRow]) -> list[Candidate]:
    """Return every node that a target can mean, in tree order."""
    return [
        Candidate(node.path, node.kind, live=pipeline.state != "down")
        for pipeline in pipelines
        for node in reader.nodes(pipeline.name)
    ]


def view(reader: StoreReader, pipeline: PipelineRow) -> View:
    """Draw one pipeline; every read sees the same instant."""
    with reader.moment():
        rows = reader.nodes(pipeline.name)
        lives = reader.latest_lives(pipeline.name)
        samples = reader.latest_samples(pipeline.name)
        ports = reader.ports(pipeline.name)
        now_s, wall_s = reader.now_s(pipeline), time.time()
        before = {
            row.path: _life_before(reader, row, lives.get(row.path))
            for row in rows
            if row.kind != "supervisor"
        }
    by_path = {row.path: row for row in rows}
    artist = _Artist(by_path, now_s, wall_s, is_down=pipeline.state == "down")
    artist.lives, artist.before, artist.samples, artist.ports = lives, before, samples, ports
    root = artist.draw(rows[0])
    root.update(_pipeline_facts(pipeline))
    return View(pipeline, root, artist.rows, now_s, wall_s)


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and everything below it, in tree order."""
    yield node
    for child in node["children"]:
        yield from walk(child)


def health(view: View) -> int:
    """Return the exit code that says how a pipeline is; finished and stopped nodes are healthy."""
    states = {node["state"] for node in walk(view.root)}
    if view.row.state == "down":
        return EXIT_DEGRADED
    if "gave_up" in states:
        return EXIT_GAVE_UP
    if view.root["daemon_pid"] is None or view.root["state"] != "running":
        return EXIT_DEGRADED
    return EXIT_DEGRADED if states & _AILING_STATES else EXIT_OK


def complaint(view: View) -> str:
    """Return a sentence about a pipeline that no daemon looks after; "" when one does."""
    row = view.row
    if view.root["daemon_pid"] is not None:
        return ""
    again = f"psup launch {row.info.get('file', 'FILE')}"
    if row.state == "down" or row.owner is None:
        return f"{row.name} is down; {again}"
    if row.owner.boot_id != boot_id():
        return f"{row.name}: the machine was restarted since, nothing of it runs; {again}"
    if parent_is_alive(row.owner):
        return f"{row.name}: its daemon died and is being restarted; what is shown may be old"
    return (
        f"{row.name}: no daemon (pid {row.owner.pid} is gone); what is shown is the last that was "
        f"saved, segments may still run; {again} takes them over"
    )


def iso(at_s: float | None, now_s: float, wall_s: float) -> str | None:
    """Return a steady time as a UTC timestamp with milliseconds.

    >>> iso(995.0, 1000.0, 86405.25)
    '1970-01-02T00:00:00.250Z'
    """
    if at_s is None:
        return None
    unix_s = max(0.0, wall_s - (now_s - at_s))
    milliseconds = int(unix_s * 1000) % 1000
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(unix_s))}.{milliseconds:03d}Z"


class _Artist:
    """Draws the nodes of one pipeline, children before parents."""

    lives: Mapping[str, LifeRow]
    before: Mapping[str, LifeRow | None]
    samples: Mapping[str, SampleRow]
    ports: Mapping[str, int]

    def __init__(
        self, rows: dict[str, NodeRow], now_s: float, wall_s: float, *, is_down: bool
    ) -> None:
        self.rows = rows
        self._now_s = now_s
        self._wall_s = wall_s
        self._is_down = is_down
        self._planned: dict[str, Json | None] = {}
        self._resting: dict[str, str] = {}
        self._children: dict[str, list[NodeRow]] = {}
        for row in rows.values():
            self._children.setdefault(row.parent, []).append(row)

    def draw(self, row: NodeRow) -> Node:
        """Return the documented shape of a node and of everything below it."""
        self._resting[row.path] = self._rests_because(row)
        children = [self.draw(child) for child in self._children.get(row.path, ())]
        node = self._common(row)
        if row.kind == "supervisor":
            self._finish_supervisor(node, row, children)
        else:
            self._finish_segment(node, row)
        node["cause"] = outlook.cause(node, row.state)
        reason = self._resting[row.path]
        if node["state"] == "pending" and reason:
            node["state"], node["cause"] = "stopped", reason
        node["next"] = self._public(self._planned.get(row.path))
        node["children"] = children
        return node

    def _common(self, row: NodeRow) -> Node:
        state, spec = row.state, row.spec
        life = self.lives.get(row.path)
        parent = self.rows.get(row.parent)
        limits = (parent.spec, parent.state) if parent is not None else None
        since_s = state.get("since_s")
        if since_s is None and life is not None:
            since_s = life.ended_s
        return {
            "path": row.path,
            "name": row.path.rpartition("/")[2],
            "kind": row.kind,
            "state": state_word(state),
            "phase": state["phase"],
            "wanted": state.get("wanted", True),
            "since": self._iso(since_s),
            "age_s": None if since_s is None else round(max(0.0, self._now_s - since_s), 3),
            "pid": None,
            "node": None,
            "incarnation": state.get("incarnation", 0),
            "restart": spec["restart"],
            "restarts": outlook.restarts(spec, state, limits, self._now_s),
            "quota": {},
            "usage": None,
            "enforcement": {},
            "status": None,
            "progress": None,
            "ports": {},
            "log": None,
            "waits_for": self._turn_after(row),
            "next": None,
            "last_exit": outlook.last_exit(state.get("last_exit"), {}),
            "notes": {name: text for name, text in spec["notes"].items() if text},
        }

    def _finish_supervisor(self, node: Node, row: NodeRow, children: Sequence[Node]) -> None:
        state = row.state
        cursor = state.get("cursor")
        awaited = children[cursor] if cursor is not None and 0 <= cursor < len(children) else None
        node["strategy"] = row.spec["strategy"]
        if awaited:
            node["waits_for"] = [awaited["path"]]
        self._planned[row.path] = outlook.next_of_supervisor(
            state, awaited, self._planned.get(awaited["path"]) if awaited else None, self._now_s
        )
        if state.get("failed"):
            node["state"] = "gave_up"
        elif node["state"] == "running" and any(
            child["state"] in _AILING_STATES for child in children
        ):
            node["state"] = "degraded"

    def _finish_segment(self, node: Node, row: NodeRow) -> None:
        spec, state = row.spec, row.state
        life = self.lives.get(row.path)
        quota = {**spec["quota"], **quota_given(spec, state)}
        if state["phase"] == "backing_off" and life is not None:
            quota |= life.evidence.get("quota") or {}  # what is shown beside it was its usage
        node["quota"] = {name: limit for name, limit in quota.items() if limit is not None}
        node["ports"] = {
            name: self.ports.get(f"{row.path.partition('/')[2]}/{name}", number)
            for name, number in spec["body"]["ports"].items()
        }
        if life is not None:
            self._add_life(node, row, life)
        if state["phase"] == "waiting":
            node["waits_for"] = [path for path in spec["after"] if not self._is_satisfied(path)]
        self._planned[row.path] = outlook.next_of_segment(
            spec, state, node["restarts"], self._now_s
        )

    def _add_life(self, node: Node, row: NodeRow, life: LifeRow) -> None:
        is_live = row.state["phase"] in _LIVE_PHASES and life.ended_s is None
        if is_live:
            node["pid"] = life.pid
        node["node"] = life.node
        node["log"] = life.log
        node["enforcement"] = dict(life.evidence.get("enforcement") or {})
        finished = self.before[row.path] if is_live else life
        if finished is not None:
            exit_ = outlook.last_exit(row.state.get("last_exit"), finished.evidence)
            if exit_ is not None:
                exit_ |= {"incarnation": finished.incarnation, "at": self._iso(finished.ended_s)}
            node["last_exit"] = exit_
        sample = self.samples.get(row.path)
        if sample is not None and sample.incarnation != life.incarnation:
            sample = None
        node["usage"] = self._usage(life, sample, is_live=is_live)
        if is_live and sample is not None:
            node["status"] = one_line(sample.status) if sample.status else None
            if sample.progress_done is not None:
                node["progress"] = {"done": sample.progress_done, "total": sample.progress_total}

    def _usage(self, life: LifeRow, sample: SampleRow | None, *, is_live: bool) -> Node:
        """Return what a life uses now, or what a finished one used at most."""
        usage: Node = {
            "memory_bytes": None,
            "peak_memory_bytes": life.evidence.get("peak_memory_bytes"),
            "cpu_cores": None,
            "processes": None,
            "open_files": None,
            "disk_bytes": None,
            "at": self._iso(life.ended_s),
        }
        if not is_live:
            return usage
        if sample is not None and self._now_s - sample.at_s <= _SAMPLE_IS_NEWS_S:
            for name in ("memory_bytes", "cpu_cores", "processes", "open_files", "disk_bytes"):
                usage[name] = getattr(sample, name)
            usage["at"] = self._iso(sample.at_s)
        fresh = memory_now(life.evidence.get("cgroup"))
        if fresh is not None:
            usage["memory_bytes"], usage["at"] = fresh, self._iso(self._now_s)
        return usage

    def _rests_because(self, row: NodeRow) -> str:
        """Return why nothing below a supervisor has a turn; "" when things have their turn."""
        state = row.state
        above = self._resting.get(row.parent, "the pipeline is down" if self._is_down else "")
        if row.kind == "supervisor" and not above:
            name = row.path.rpartition("/")[2]
            if state["phase"] == "supervisor_ended":
                return f"{name} {'is done' if state['how'] == 'completed' else 'gave up'}"
            if state["phase"] == "down" and not state.get("wanted", True):
                return f"{name} is stopped"
        return above

    def _turn_after(self, row: NodeRow) -> list[str]:
        """Return the node whose start is awaited before this one has its first turn."""
        above = self.rows.get(row.parent) if row.state["phase"] in ("idle", "down") else None
        while above is not None:
            if above.state["phase"] == "bringing_up":
                siblings = self._children[above.path]
                return [siblings[min(above.state["cursor"], len(siblings) - 1)].path]
            above = self.rows.get(above.parent)
        return []

    def _is_satisfied(self, path: str) -> bool:
        other = self.rows.get(path)
        if other is None:
            return False
        if other.kind == "service":
            return bool(other.state["phase"] == "running")
        return bool(other.state["phase"] == "ended" and other.state["how"] == "completed")

    def _public(self, planned: Json | None) -> Node | None:
        """Give the time as everybody reads it: steady seconds mean nothing outside the store."""
        if planned is None:
            return None
        at_s = planned["at_s"]
        return {
            "what": planned["what"],
            "at": self._iso(at_s),
            "in_s": None if at_s is None else round(max(0.0, at_s - self._now_s), 3),
            "text": planned["text"],
        }

    def _iso(self, at_s: float | None) -> str | None:
        return iso(at_s, self._now_s, self._wall_s)


def _pipeline_facts(row: PipelineRow) -> Node:
    return {
        "daemon_pid": row.daemon_pid,
        "pipeline_state": row.state,
        "file": row.info.get("file"),
        "enforcement_mode": row.info.get("enforcement_mode"),
    }


def _life_before(reader: StoreReader, row: NodeRow, life: LifeRow | None) -> LifeRow | None:
    """Return the life whose end is the node's last exit, if that is not the latest life."""
    if life is None or life.ended_s is not None or row.state.get("last_exit") is None:
        return None
    return next((old for old in reader.lives(row.path, 2) if old.ended_s is not None), None)


def quota_name(field: str) -> str:
    """Return the name of a quota as the enforcement map and the pipeline file write it.

    >>> quota_name("memory_bytes"), quota_name("open_files")
    ('memory', 'open_files')
    """
    for unit in _QUOTA_UNITS:
        field = field.removesuffix(unit)
    return field
