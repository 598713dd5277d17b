"""What every store promises, held for the one in memory and the one in SQLite alike.

The promises are the docstrings of `ports.Store`. What only a file can show (processes that die or
race, permissions, schema) is in `tests/adapters/test_sqlite_store.py`.
"""

import json
import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import asdict, replace

import pytest

from supervisor.adapters.memory_store import MemoryDatabase, MemoryStore
from supervisor.adapters.sqlite_store import open_store
from supervisor.cli.store_reader import StoreReader
from supervisor.core.actions import Answer
from supervisor.errors import AlreadyRunning, LostOwnership, NoSuchTarget, StoreError
from supervisor.runtime.clock import Moment
from supervisor.runtime.ports import (
    Commit,
    JournalEntry,
    LifeRecord,
    NodeRow,
    Owner,
    PendingRequest,
    Sample,
)
from supervisor.runtime.retention import Retention

FIRST = Owner(pid=100, started_ticks=1, boot_id="boot", token="first", parent_pid=99)
SECOND = Owner(pid=200, started_ticks=2, boot_id="boot", token="second", parent_pid=199)
WALL_S = 1_700_000_000.0
TRAIN = "digits/train"


class Shelf(ABC):
    """Several daemons' stores over the same data, and a look at that data."""

    def __init__(self):
        self.living = {"first", "second"}
        self.opened = []

    def is_alive(self, owner):
        return owner.token in self.living

    def open(self, pipeline="digits", retention=None):
        store = self._open(
            pipeline, retention=retention, is_alive=self.is_alive, wall_s=lambda: WALL_S
        )
        self.opened.append(store)
        return store

    def close(self):
        for store in self.opened:
            store.close()

    @abstractmethod
    def _open(self, pipeline, **options): ...

    @abstractmethod
    def ask(self, verb, path, args): ...

    @abstractmethod
    def answer(self, request): ...

    @abstractmethod
    def state(self, pipeline): ...

    @abstractmethod
    def journal(self, pipeline="digits"): ...

    @abstractmethod
    def life(self, path, incarnation): ...

    @abstractmethod
    def lives(self, path): ...

    @abstractmethod
    def samples(self, path, incarnation): ...


class MemoryShelf(Shelf):
    def __init__(self, _folder):
        super().__init__()
        self.database = MemoryDatabase()

    def _open(self, pipeline, **options):
        return MemoryStore(pipeline, self.database, **options)

    def ask(self, verb, path, args):
        return self.database.ask(verb, path, args)

    def answer(self, request):
        for pipeline in self.database.pipelines.values():
            if request in pipeline.answers:
                answer = pipeline.answers[request]
                return answer.ok, answer.code, answer.text
        return None

    def state(self, pipeline):
        return self.database.pipelines[pipeline].state

    def journal(self, pipeline="digits"):
        lines = self.database.pipelines[pipeline].journal
        return [(line.at_s, line.wall_s, line.entry) for line in lines]

    def life(self, path, incarnation):
        return self.database.pipelines["digits"].lives[path, incarnation]

    def lives(self, path):
        return sorted(
            life[1] for life in self.database.pipelines["digits"].lives if life[0] == path
        )

    def samples(self, path, incarnation):
        return list(self.database.pipelines["digits"].samples.get((path, incarnation), []))


class SqliteShelf(Shelf):
    def __init__(self, folder):
        super().__init__()
        self.home = folder / "home"

    def _open(self, pipeline, **options):
        return open_store(self.home, pipeline, **options)

    def reader(self):
        return StoreReader(self.home / "state.db")

    def ask(self, verb, path, args):
        # As `asking.ask` does it, which first looks for a living daemon: there is none here.
        row = (path.partition("/")[0], verb, path, json.dumps(args), 1.0)
        with closing(sqlite3.connect(self.home / "state.db")) as connection, connection:
            sql = "INSERT INTO requests (pipeline, verb, path, args, asked_s) VALUES (?,?,?,?,?)"
            return connection.execute(sql, row).lastrowid

    def answer(self, request):
        with self.reader() as reader:
            try:
                row = reader.request(request)
            except NoSuchTarget:
                return None
        return None if row.answered_s is None else (row.ok, row.code, row.text)

    def state(self, pipeline):
        with self.reader() as reader:
            return reader.pipeline(pipeline).state

    def journal(self, pipeline="digits"):
        with self.reader() as reader:
            rows = reader.journal(pipeline)
        return [
            (row.at_s, row.wall_s, JournalEntry(row.kind, row.type, row.path, row.data))
            for row in rows
        ]

    def life(self, path, incarnation):
        with self.reader() as reader:
            found = [row for row in reader.lives(path) if row.incarnation == incarnation]
        columns = found[0]._asdict()
        return LifeRecord(**{**columns, "evidence": columns["evidence"] or None})

    def lives(self, path):
        with self.reader() as reader:
            return sorted(row.incarnation for row in reader.lives(path))

    def samples(self, path, incarnation):
        with self.reader() as reader:
            return [Sample(**row._asdict()) for row in reader.samples(path, incarnation)]


@pytest.fixture(params=[MemoryShelf, SqliteShelf], ids=["memory", "sqlite"])
def shelf(request, tmp_path):
    shelf = request.param(tmp_path)
    yield shelf
    shelf.close()


def nodes(*paths, pipeline="digits", incarnation=0):
    """Rows of a root supervisor and the given segments below it."""
    root = NodeRow(pipeline, "", "supervisor", 0, {"strategy": "one_for_one"}, {"phase": "up"})
    segments = [
        NodeRow(path, pipeline, "task", at, {"kind": "task"}, idle(incarnation))
        for at, path in enumerate(paths)
    ]
    return [root, *segments]


def idle(incarnation=0):
    return {"phase": "idle", "incarnation": incarnation}


@pytest.fixture
def store(shelf):
    """The store of a launched pipeline with one segment, owned by FIRST."""
    store = shelf.open()
    store.claim(FIRST)
    store.create(nodes(TRAIN), {"file": "/d/pipeline.yaml", "offset_s": 5.0}, at_s=10.0)
    return store


def line(type_="Ready", path=TRAIN, **data):
    return JournalEntry("event", type_, path, data)


# ---------------------------------------------------------------------------------------- ownership


def test_a_living_owner_is_not_replaced(shelf, store):
    """A second daemon is refused while the first lives, and the first goes on writing."""
    with pytest.raises(AlreadyRunning, match=r"digits is already running \(daemon 100\)"):
        shelf.open().claim(SECOND)
    store.save(Commit(at_s=11.0, journal=[line()]))
    assert len(shelf.journal()) == 1


def test_a_dead_owner_is_replaced(shelf, store):
    """A daemon that died leaves the pipeline to whoever comes next, rows included."""
    shelf.living.remove("first")
    successor = shelf.open()
    successor.claim(SECOND)
    successor.save(Commit(at_s=11.0, nodes={TRAIN: idle(1)}))
    assert successor.load_states()[TRAIN] == idle(1)


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.save(Commit(at_s=11.0, journal=[line()])),
        lambda store: store.create(nodes("digits/other"), {}, at_s=11.0),
        lambda store: store.note({"ray_address": "elsewhere"}),
        lambda store: store.add_samples([Sample(TRAIN, 1, 11.0)]),
        lambda store: store.ports({"serve/http": 4321}),
    ],
    ids=["save", "create", "note", "add_samples", "ports"],
)
def test_who_was_replaced_cannot_write(shelf, store, write):
    """Every write of a daemon that lost its pipeline is refused and leaves nothing."""
    shelf.living.remove("first")
    shelf.open().claim(SECOND)
    before = store.load_states(), store.load_info()
    with pytest.raises(LostOwnership):
        write(store)
    assert (store.load_states(), store.load_info()) == before
    assert shelf.journal() == []
    assert shelf.samples(TRAIN, 1) == []
    assert store.taken_ports() == frozenset()


def test_who_never_claimed_cannot_write(shelf, store):
    """Opening a store gives no right to write to it."""
    with pytest.raises(LostOwnership):
        shelf.open().note({"ray_address": "elsewhere"})


def test_ownership_can_be_given_back(shelf, store):
    """After disown the next claim succeeds at once, and the former owner writes no more."""
    store.disown()
    successor = shelf.open()
    successor.claim(SECOND)
    assert set(successor.load_states()) == {"digits", TRAIN}
    with pytest.raises(LostOwnership):
        store.save(Commit(at_s=11.0))


def test_disown_leaves_another_owner_alone(shelf, store):
    """A daemon that lost its pipeline and now ends does not end its successor's ownership."""
    shelf.living.remove("first")
    successor = shelf.open()
    successor.claim(SECOND)
    store.disown()
    successor.note({"still": "ours"})
    assert successor.load_info()["still"] == "ours"


def test_claiming_twice_with_one_token_is_harmless(store):
    """A retried claim of the same daemon does not meet itself as a stranger."""
    store.claim(FIRST)
    store.note({"still": "ours"})
    assert store.load_info()["still"] == "ours"


def test_pipelines_are_apart(shelf, store):
    """Two pipelines in one store have owners, nodes, info and journals of their own."""
    other = shelf.open("scripts")
    other.claim(SECOND)
    other.create(nodes("scripts/a", pipeline="scripts"), {"file": "/s.yaml"}, at_s=1.0)
    other.save(Commit(at_s=2.0, journal=[line(path="scripts/a")], pipeline_state="failed"))
    assert set(store.load_states()) == {"digits", TRAIN}
    assert set(other.load_states()) == {"scripts", "scripts/a"}
    assert store.load_info()["file"] == "/d/pipeline.yaml"
    assert (shelf.state("digits"), shelf.state("scripts")) == ("up", "failed")
    assert shelf.journal("digits") == []
    with pytest.raises(StoreError):
        store.save(Commit(at_s=3.0, nodes={"scripts/a": idle(7)}))
    assert other.load_states()["scripts/a"] == idle(0)


# ------------------------------------------------------------------------------------------- launch


def test_a_new_store_is_empty(shelf):
    """Before the first launch there are no states, no facts, no moment and no lives."""
    store = shelf.open()
    assert store.load_states() == {}
    assert store.load_info() == {}
    assert store.last_moment() is None
    assert store.last_incarnation(TRAIN) == 0
    assert store.pending_requests() == []


def test_a_new_launch_replaces_the_nodes_and_keeps_the_history(shelf, store):
    """Nodes that are gone from the file go; the journal and the lives stay."""
    store.save(Commit(at_s=11.0, journal=[line()], lives=[LifeRecord(TRAIN, 1, started_s=11.0)]))
    store.create(nodes("digits/other"), {"file": "/new.yaml"}, at_s=20.0)
    assert set(store.load_states()) == {"digits", "digits/other"}
    assert store.load_info() == {"file": "/new.yaml"}
    assert len(shelf.journal()) == 1
    assert shelf.lives(TRAIN) == [1]


def test_a_new_launch_puts_a_failed_pipeline_up(shelf, store):
    """The word for the whole pipeline starts again with the launch."""
    store.save(Commit(at_s=11.0, pipeline_state="failed"))
    assert shelf.state("digits") == "failed"
    store.create(nodes(TRAIN), {}, at_s=20.0)
    assert shelf.state("digits") == "up"


def test_facts_are_merged(store):
    """Noting adds and replaces single facts, and leaves the others."""
    store.note({"ray_address": "127.0.0.1:1", "offset_s": 6.0})
    assert store.load_info() == {
        "file": "/d/pipeline.yaml",
        "offset_s": 6.0,
        "ray_address": "127.0.0.1:1",
    }


def test_states_come_back_as_they_were_saved(store):
    """A state with nested values, nulls and floats survives the store unchanged."""
    state = {
        "phase": "backing_off",
        "until_s": 12.000000001,
        "restarts": [1.5, 2.5],
        "last_exit": {"kind": "error", "detail": "ValueError: ünï"},
        "deadline_s": None,
    }
    store.save(Commit(at_s=11.0, nodes={TRAIN: state}))
    assert store.load_states() == {"digits": {"phase": "up"}, TRAIN: state}


# --------------------------------------------------------------------------------------------- save


def test_a_step_that_fails_leaves_nothing(shelf, store):
    """One impossible part undoes the whole step: states, journal, lives, answers, word."""
    request = shelf.ask("stop", TRAIN, {})
    commit = Commit(
        at_s=11.0,
        nodes={TRAIN: idle(9), "digits/unknown": idle(9)},
        journal=[line()],
        lives=[LifeRecord(TRAIN, 9, started_s=11.0)],
        answers=[Answer(request, True, "ok", "")],
        pipeline_state="failed",
    )
    with pytest.raises(StoreError, match="digits/unknown is no node of digits"):
        store.save(commit)
    assert store.load_states()[TRAIN] == idle(0)
    assert shelf.journal() == []
    assert shelf.lives(TRAIN) == []
    assert shelf.answer(request) is None
    assert shelf.state("digits") == "up"


def test_what_is_no_json_is_refused_and_leaves_nothing(shelf, store):
    """A value without a JSON form fails the step before anything of it is written."""
    bad = LifeRecord(TRAIN, 1, started_s=11.0, evidence={"when": object()})
    with pytest.raises(StoreError, match="no JSON form"):
        store.save(Commit(at_s=11.0, nodes={TRAIN: idle(1)}, journal=[line()], lives=[bad]))
    assert store.load_states()[TRAIN] == idle(0)
    assert shelf.journal() == []


def test_the_store_works_after_a_step_that_failed(shelf, store):
    """A refused step does not spoil the next one."""
    with pytest.raises(StoreError):
        store.save(Commit(at_s=11.0, nodes={"digits/unknown": idle()}))
    store.save(Commit(at_s=12.0, nodes={TRAIN: idle(2)}, journal=[line()]))
    assert store.load_states()[TRAIN] == idle(2)
    assert len(shelf.journal()) == 1


def test_the_journal_keeps_order_and_both_times(shelf, store):
    """Lines come back in the order in which they were saved, with steady and wall time."""
    first = [line("Started", pid=7), line("Ready"), JournalEntry("action", "Start", "", {"n": 1})]
    store.save(Commit(at_s=11.0, journal=first))
    store.save(Commit(at_s=12.0, journal=[JournalEntry("report", "gave_up", TRAIN, {})]))
    assert shelf.journal() == [
        *((11.0, WALL_S, entry) for entry in first),
        (12.0, WALL_S, JournalEntry("report", "gave_up", TRAIN, {})),
    ]
    assert store.last_moment() == Moment(12.0, WALL_S)


def test_a_life_is_written_column_by_column(shelf, store):
    """A column that a record leaves out keeps its value; evidence is added key by key."""
    records = [
        LifeRecord(TRAIN, 1, started_s=11.0, log="/logs/1.log"),
        LifeRecord(
            TRAIN, 1, pid=77, node="here", evidence={"pid": 77, "enforcement": {"cpu": "x"}}
        ),
        LifeRecord(TRAIN, 1, ready_s=12.0),
        LifeRecord(
            TRAIN,
            1,
            ended_s=13.0,
            reason_kind="exit",
            reason_detail="",
            evidence={"exit_code": 3, "pid": 78},
        ),
    ]
    for record in records:
        store.save(Commit(at_s=11.0, lives=[record]))
    assert shelf.life(TRAIN, 1) == LifeRecord(
        TRAIN,
        1,
        started_s=11.0,
        ready_s=12.0,
        ended_s=13.0,
        pid=77,
        node="here",
        reason_kind="exit",
        reason_detail="",
        log="/logs/1.log",
        evidence={"pid": 78, "enforcement": {"cpu": "x"}, "exit_code": 3},
    )


def test_what_a_body_says_cannot_break_a_step(shelf, store):
    """Half characters, NaN and infinities in a body's words are stored in a harmless form."""
    life = LifeRecord(
        TRAIN,
        1,
        reason_kind="error",
        reason_detail="ValueError: \udcff",
        evidence={"loss": float("nan"), "best": [float("inf"), 1], "said": "caf\u00e9 \ud800"},
    )
    sample = Sample(
        TRAIN, 1, 11.0, status="\udcfe", progress_done=float("nan"), progress_total=float("inf")
    )
    store.save(Commit(at_s=11.0, lives=[life]))
    store.add_samples([sample])
    stored = shelf.life(TRAIN, 1)
    assert stored.reason_detail == r"ValueError: \udcff"
    assert stored.evidence == {"loss": None, "best": [None, 1], "said": "caf\u00e9 \ud800"}
    assert shelf.samples(TRAIN, 1) == [replace(Sample(TRAIN, 1, 11.0), status=r"\udcfe")]


# ----------------------------------------------------------------------------------------- requests


def test_requests_wait_in_order_until_they_are_answered(shelf, store):
    """Requests are handed out oldest first, and no longer once they are answered."""
    first = shelf.ask("restart", TRAIN, {"all": True})
    second = shelf.ask("down", "digits", {})
    shelf.ask("stop", "scripts/a", {})
    assert store.pending_requests() == [
        PendingRequest(first, "restart", TRAIN, {"all": True}),
        PendingRequest(second, "down", "digits", {}),
    ]
    store.save(Commit(at_s=11.0, answers=[Answer(first, True, "ok", "restarting")]))
    assert [request.id for request in store.pending_requests()] == [second]
    assert shelf.answer(first) == (True, "ok", "restarting")
    assert shelf.answer(second) is None


def test_a_request_is_answered_once(shelf, store):
    """A second answer, from a step repeated after a crash, does not replace the first."""
    request = shelf.ask("stop", TRAIN, {})
    store.save(Commit(at_s=11.0, answers=[Answer(request, False, "not_running", "it rests")]))
    store.save(Commit(at_s=12.0, answers=[Answer(request, True, "ok", "stopping")]))
    assert shelf.answer(request) == (False, "not_running", "it rests")


def test_nobody_answers_for_another_pipeline(shelf, store):
    """An answer reaches only requests of the pipeline that the store is of."""
    request = shelf.ask("stop", "scripts/a", {})
    store.save(Commit(at_s=11.0, answers=[Answer(request, True, "ok", "")]))
    assert shelf.answer(request) is None


def test_a_new_launch_refuses_what_was_asked_of_the_old(shelf, store):
    """A `down` that nobody answered must not bring down the launch that came after it."""
    request = shelf.ask("down", "digits", {})
    store.create(nodes(TRAIN), {}, at_s=20.0)
    assert store.pending_requests() == []
    ok, code, _ = shelf.answer(request)
    assert (ok, code) == (False, "superseded")


# ------------------------------------------------------------------------------------ over launches


def test_numbers_of_lives_survive_a_relaunch(store):
    """The next launch goes on counting where the last one stopped."""
    store.save(Commit(at_s=11.0, lives=[LifeRecord(TRAIN, 1), LifeRecord(TRAIN, 2)]))
    store.create(nodes(TRAIN), {}, at_s=20.0)
    assert store.last_incarnation(TRAIN) == 2
    assert store.last_incarnation("digits/other") == 0


def test_a_life_that_only_its_node_knows_counts(store):
    """A start that was saved just before a crash is never numbered a second time."""
    store.save(Commit(at_s=11.0, nodes={TRAIN: idle(5)}, lives=[LifeRecord(TRAIN, 4)]))
    assert store.last_incarnation(TRAIN) == 5
    store.create(nodes("digits/other"), {}, at_s=20.0)
    assert store.last_incarnation(TRAIN) == 5


def test_ports_are_remembered(store):
    """The first number that a name was given stays, over launches as well."""
    assert store.ports({"serve/http": 1001}) == {"serve/http": 1001}
    store.create(nodes(TRAIN), {}, at_s=20.0)
    assert store.ports({"serve/http": 2001, "web/http": 2002}) == {
        "serve/http": 1001,
        "web/http": 2002,
    }
    assert store.ports({}) == {}


def test_ports_of_all_pipelines_are_taken(shelf, store):
    """A pipeline can see which numbers belong to others, so as not to choose them."""
    other = shelf.open("scripts")
    other.claim(SECOND)
    other.ports({"serve/http": 1002})
    store.ports({"serve/http": 1001})
    assert other.taken_ports() == {1001, 1002}


# ---------------------------------------------------------------------------------------- retention


def test_measurements_of_a_life_are_bounded_and_keep_their_peak(shelf):
    """However many come, few stay: the newest as they were, and the highest peak."""
    store = shelf.open(retention=Retention(samples_per_life=20))
    store.claim(FIRST)
    store.create(nodes(TRAIN), {}, at_s=0.0)
    for at in range(300):
        memory_bytes = 10_000 if at == 37 else at
        store.add_samples([Sample(TRAIN, 1, float(at), memory_bytes=memory_bytes)])
    kept = shelf.samples(TRAIN, 1)
    assert len(kept) <= 20
    assert [sample.at_s for sample in kept[-10:]] == [float(at) for at in range(290, 300)]
    assert max(sample.memory_bytes for sample in kept) == 10_000
    assert [sample.at_s for sample in kept] == sorted(sample.at_s for sample in kept)


def test_measurements_come_back_as_they_were(shelf, store):
    """Every column of a measurement is kept, and one that is None stays None."""
    full = Sample(TRAIN, 1, 11.0, 1, 0.5, 3, 4, 5, "epoch 3", 3.0, 10.0)
    bare = Sample(TRAIN, 1, 12.0)
    store.add_samples([full, bare])
    assert shelf.samples(TRAIN, 1) == [full, bare]


def test_old_lives_and_their_measurements_go(shelf):
    """Only the newest lives stay, of the measurements fewer still; numbering is not touched."""
    store = shelf.open(retention=Retention(lives_per_segment=5, sampled_lives=2))
    store.claim(FIRST)
    store.create(nodes(TRAIN), {}, at_s=0.0)
    for number in range(1, 13):
        store.add_samples([Sample(TRAIN, number, float(number))])
        store.save(Commit(at_s=1.0, lives=[LifeRecord(TRAIN, number, ended_s=1.0)]))
    assert shelf.lives(TRAIN) == [8, 9, 10, 11, 12]
    sampled = [number for number in range(1, 13) if shelf.samples(TRAIN, number)]
    assert sampled == [11, 12]
    assert store.last_incarnation(TRAIN) == 12


def test_the_journal_is_bounded_in_number(shelf):
    """Old lines go when there are too many; the newest stay in order; others' stay."""
    other = shelf.open("scripts")
    other.claim(SECOND)
    other.save(Commit(at_s=0.0, journal=[line(path="scripts/a")]))
    store = shelf.open(retention=Retention(journal_rows=50))
    store.claim(FIRST)
    for at in range(500):
        store.save(Commit(at_s=float(at), journal=[line(n=at)]))
    numbers = [entry.data["n"] for _, _, entry in shelf.journal()]
    assert 50 <= len(numbers) < 50 + 150
    assert numbers == list(range(500 - len(numbers), 500))
    assert len(shelf.journal("scripts")) == 1


def test_the_journal_is_bounded_in_age(shelf):
    """Lines older than allowed go even when they are few."""
    store = shelf.open(retention=Retention(journal_age_s=100.0))
    store.claim(FIRST)
    store.save(Commit(at_s=0.0, journal=[line(n="old")]))
    for _ in range(150):
        store.save(Commit(at_s=200.0, journal=[line(n="new")]))
    assert {entry.data["n"] for _, _, entry in shelf.journal()} == {"new"}


def test_answered_requests_are_bounded(shelf):
    """Old answers go; a request that waits is never forgotten."""
    store = shelf.open(retention=Retention(answered_requests=3))
    store.claim(FIRST)
    waiting = shelf.ask("stop", TRAIN, {})
    answered = [shelf.ask("start", TRAIN, {}) for _ in range(10)]
    for request in answered:
        store.save(Commit(at_s=1.0, answers=[Answer(request, True, "ok", "")]))
    for _ in range(150):
        store.save(Commit(at_s=2.0))
    assert [request.id for request in store.pending_requests()] == [waiting]
    assert [shelf.answer(request) for request in answered[-3:]] == [(True, "ok", "")] * 3
    assert shelf.answer(answered[0]) is None


def test_owner_survives_as_it_was(shelf, store):
    """What a successor sees of the owner is what the owner said of itself."""
    seen = []
    shelf.is_alive = lambda owner: not seen.append(asdict(owner))
    with pytest.raises(AlreadyRunning):
        shelf.open().claim(SECOND)
    assert seen == [asdict(FIRST)]
