"""The store in a few dictionaries: the reference of what the port promises, and a fake for tests.

It keeps the same promises as `sqlite_store.py`, held by the same contract suite, down to the JSON:
what could not be written to a file is refused here too. Several stores over one `MemoryDatabase`
are what several daemons are to one `state.db`. Tests look into it through the database's fields.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

from supervisor.core.actions import Answer
from supervisor.core.spec import Path
from supervisor.errors import AlreadyRunning, LostOwnership, StoreError
from supervisor.runtime.clock import Moment
from supervisor.runtime.ports import (
    Commit,
    JournalEntry,
    Json,
    LifeRecord,
    NodeRow,
    Owner,
    PendingRequest,
    Sample,
)
from supervisor.runtime.process_identity import is_alive as is_process_alive
from supervisor.runtime.retention import Retention, surplus
from supervisor.runtime.stored_text import clean_or_none, finite, to_json

Life = tuple[Path, int]
"""Path and incarnation."""


@dataclass(frozen=True, slots=True)
class JournalLine:
    """An entry and when it was written."""

    at_s: float
    wall_s: float
    entry: JournalEntry


@dataclass(slots=True)
class Pipeline:
    """Everything that is known of one pipeline."""

    state: str = "down"
    info: Json = field(default_factory=dict)
    owner: Owner | None = None
    launched_s: float | None = None
    nodes: dict[Path, NodeRow] = field(default_factory=dict)
    journal: list[JournalLine] = field(default_factory=list)
    lives: dict[Life, LifeRecord] = field(default_factory=dict)
    samples: dict[Life, list[Sample]] = field(default_factory=dict)
    requests: dict[int, PendingRequest] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)


class MemoryDatabase:
    """What several stores share; stands for one `state.db`."""

    def __init__(self) -> None:
        self.pipelines: dict[str, Pipeline] = {}
        self.lock = threading.Lock()
        self._last_request = 0

    def ask(self, verb: str, path: Path, args: Json | None = None) -> int:
        """Write a request, as a person at a terminal would; return its id."""
        with self.lock:
            self._last_request += 1
            request = PendingRequest(self._last_request, verb, path, _stored(args or {}))
            pipeline = self.pipelines.setdefault(path.partition("/")[0], Pipeline())
            pipeline.requests[request.id] = request
            return request.id


class MemoryStore:
    """`ports.Store` for one pipeline.

    Args:
        pipeline: its name.
        database: shared with other stores; a new one when None.
        retention: how much of the past to keep.
        is_alive: tells whether an owner still runs.
        wall_s: the wall clock.
    """

    def __init__(
        self,
        pipeline: str,
        database: MemoryDatabase | None = None,
        *,
        retention: Retention | None = None,
        is_alive: Callable[[Owner], bool] = is_process_alive,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.database = database or MemoryDatabase()
        self._pipeline = pipeline
        self._retention = retention or Retention()
        self._is_alive = is_alive
        self._wall_s = wall_s
        self._owner: Owner | None = None

    @property
    def contents(self) -> Pipeline:
        """Everything that is known of this store's pipeline, for tests to look at."""
        return self.database.pipelines.setdefault(self._pipeline, Pipeline())

    def claim(self, owner: Owner) -> None:
        """Become the owner; AlreadyRunning if a living one exists."""
        with self.database.lock:
            found = self.contents.owner
            if found is not None and found.token != owner.token and self._is_alive(found):
                raise AlreadyRunning(
                    f"pipeline {self._pipeline} is already running (daemon {found.pid})"
                )
            self.contents.owner = self._owner = owner

    def disown(self) -> None:
        """Give ownership back; the rows stay. Harmless when it was lost already."""
        with self.database.lock:
            if self.contents.owner == self._owner:
                self.contents.owner = None
            self._owner = None

    def create(self, rows: Sequence[NodeRow], info: Json, at_s: float) -> None:
        """Begin a new launch: replace all nodes of the pipeline, keep its history."""
        with self._fenced() as pipeline:
            nodes = _stored_rows(rows)
            pipeline.info = _stored(info)
            self._remember_lives_of_nodes(pipeline)
            pipeline.nodes = nodes
            pipeline.state, pipeline.launched_s = "up", at_s
            for request in set(pipeline.requests) - set(pipeline.answers):
                text = "a new launch began before this was answered"
                pipeline.answers[request] = Answer(request, False, "superseded", text)

    def load_states(self) -> Mapping[Path, Json]:
        """Return the encoded state of every node; empty when there was no launch."""
        with self.database.lock:
            return {path: dict(row.state) for path, row in self.contents.nodes.items()}

    def load_info(self) -> Json:
        """Return what `create` and `note` were given (clock offset, Ray address, file, ...)."""
        with self.database.lock:
            return dict(self.contents.info)

    def note(self, info: Json) -> None:
        """Merge facts into the pipeline's info."""
        with self._fenced() as pipeline:
            pipeline.info = {**pipeline.info, **_stored(info)}

    def save(self, commit: Commit) -> None:
        """Write one step."""
        with self._fenced() as pipeline:
            # Everything that can fail comes before the first change.
            nodes = commit.nodes if commit.rows is None else {}
            unknown = sorted(set(nodes) - set(pipeline.nodes))
            if unknown:
                raise StoreError(f"{', '.join(unknown)} is no node of {self._pipeline}")
            states = {path: _stored(state) for path, state in nodes.items()}
            rows = None if commit.rows is None else _stored_rows(commit.rows)
            info = {**pipeline.info, **_stored(commit.info or {})}
            journal = [replace(entry, data=_stored(entry.data)) for entry in commit.journal]
            lives = [_cleaned(life) for life in commit.lives]

            pipeline.info = info
            if rows is not None:
                self._remember_lives_of_nodes(pipeline)
                pipeline.nodes = rows
            for path, state in states.items():
                pipeline.nodes[path] = replace(pipeline.nodes[path], state=state)
            wall_s = self._wall_s()
            pipeline.journal += [JournalLine(commit.at_s, wall_s, entry) for entry in journal]
            for life in lives:
                self._save_life(pipeline, life)
            for answer in commit.answers:
                if answer.request in pipeline.requests:
                    pipeline.answers.setdefault(answer.request, answer)
            if commit.pipeline_state is not None:
                pipeline.state = commit.pipeline_state
            self._trim(pipeline, commit.at_s)

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Write measurements; old ones are thinned so that their number stays bounded."""
        with self._fenced() as pipeline:
            for sample in samples:
                of_life = pipeline.samples.setdefault((sample.path, sample.incarnation), [])
                of_life.append(_cleaned_sample(sample))
                memory_bytes = [one.memory_bytes for one in of_life]
                for at in reversed(surplus(memory_bytes, self._retention.samples_per_life)):
                    del of_life[at]

    def pending_requests(self) -> Sequence[PendingRequest]:
        """Return unanswered requests, oldest first."""
        with self.database.lock:
            pipeline = self.contents
            return [
                request
                for request in pipeline.requests.values()
                if request.id not in pipeline.answers
            ]

    def last_incarnation(self, path: Path) -> int:
        """Return the highest number ever used for that path, 0 if none; survives relaunches."""
        with self.database.lock:
            pipeline = self.contents
            lives = [incarnation for life, incarnation in pipeline.lives if life == path]
            row = pipeline.nodes.get(path)
            decided = 0 if row is None else int(row.state.get("incarnation", 0))
            return max([decided, *lives])

    def last_moment(self) -> Moment | None:
        """Return when the newest line of the journal was written; None if there is none."""
        with self.database.lock:
            if not self.contents.journal:
                return None
            newest = self.contents.journal[-1]
            return Moment(newest.at_s, newest.wall_s)

    def ports(self, wanted: Mapping[str, int]) -> Mapping[str, int]:
        """Return the remembered port of each name, after adding those not yet remembered."""
        with self._fenced() as pipeline:
            return {name: pipeline.ports.setdefault(name, port) for name, port in wanted.items()}

    def taken_ports(self) -> frozenset[int]:
        """Return every port remembered for any pipeline, so that a new one gets another."""
        with self.database.lock:
            every = self.database.pipelines.values()
            return frozenset(port for pipeline in every for port in pipeline.ports.values())

    def close(self) -> None:
        """Nothing to close: what is in memory stays for whoever holds the database."""

    @contextmanager
    def _fenced(self) -> Iterator[Pipeline]:
        with self.database.lock:
            if self._owner is None or self.contents.owner != self._owner:
                raise LostOwnership(f"pipeline {self._pipeline} is not ours any more")
            yield self.contents

    def _remember_lives_of_nodes(self, pipeline: Pipeline) -> None:
        """Keep the numbers of lives of which no news came before their nodes are replaced."""
        for row in pipeline.nodes.values():
            incarnation = int(row.state.get("incarnation", 0))
            if row.kind != "supervisor" and incarnation > 0:
                life = LifeRecord(row.path, incarnation)
                pipeline.lives.setdefault((row.path, incarnation), life)

    def _save_life(self, pipeline: Pipeline, life: LifeRecord) -> None:
        key = (life.path, life.incarnation)
        known = pipeline.lives.get(key, LifeRecord(*key))
        changed: dict[str, Any] = {
            column.name: value
            for column in fields(life)
            if (value := getattr(life, column.name)) is not None
        }
        if life.evidence is not None:
            changed["evidence"] = {**(known.evidence or {}), **life.evidence}
        pipeline.lives[key] = replace(known, **changed)
        if life.ended_s is not None:
            _forget(pipeline.lives, life, self._retention.lives_per_segment)
            _forget(pipeline.samples, life, self._retention.sampled_lives)

    def _trim(self, pipeline: Pipeline, now_s: float) -> None:
        keep = self._retention
        oldest_s = now_s - keep.journal_age_s
        young = [line for line in pipeline.journal if line.at_s >= oldest_s]
        pipeline.journal = young[-keep.journal_rows :]
        for request in sorted(pipeline.answers)[: -keep.answered_requests]:
            del pipeline.answers[request], pipeline.requests[request]


def _forget(table: dict[Life, Any], newest: LifeRecord, keep: int) -> None:
    for path, incarnation in list(table):
        if path == newest.path and incarnation <= newest.incarnation - keep:
            del table[path, incarnation]


def _stored(value: Json) -> dict[str, Any]:
    """Return what would come back from a file."""
    return dict(json.loads(to_json(value)))


def _stored_rows(rows: Sequence[NodeRow]) -> dict[Path, NodeRow]:
    return {
        row.path: replace(row, spec=_stored(row.spec), state=_stored(row.state)) for row in rows
    }


def _cleaned(life: LifeRecord) -> LifeRecord:
    return replace(
        life,
        reason_detail=clean_or_none(life.reason_detail),
        log=clean_or_none(life.log),
        evidence=None if life.evidence is None else _stored(life.evidence),
    )


def _cleaned_sample(sample: Sample) -> Sample:
    return replace(
        sample,
        cpu_cores=finite(sample.cpu_cores),
        status=clean_or_none(sample.status),
        progress_done=finite(sample.progress_done),
        progress_total=finite(sample.progress_total),
    )
