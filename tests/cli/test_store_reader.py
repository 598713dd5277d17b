"""Reading the store beside writers, after they were killed, and where nobody may write.

What the rows hold is checked by the contract suite of the store, which reads with the same reader.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from supervisor.adapters.sqlite_store import open_store
from supervisor.cli import store_reader
from supervisor.cli.store_reader import StoreReader
from supervisor.errors import NoSuchTarget, NotRunning, StoreError
from supervisor.runtime.clock import SteadyClock
from supervisor.runtime.ports import Commit, JournalEntry, LifeRecord, NodeRow, Owner, Sample
from supervisor.runtime.process_identity import this_process

NOBODY = 65534


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(home):
    store = launched(home)
    yield store
    store.close()


@pytest.fixture
def reader(home, store):
    with StoreReader(home / "state.db") as reader:
        yield reader


def launched(home):
    """A store with a pipeline of two segments, owned by this process."""
    store = open_store(home, "digits")
    store.claim(this_process("ours"))
    rows = [
        NodeRow("digits", "", "supervisor", 0, {"strategy": "one_for_one"}, {"phase": "up"}),
        NodeRow("digits/train", "digits", "task", 0, {"kind": "task"}, {"phase": "idle"}),
        NodeRow("digits/serve", "digits", "service", 1, {"kind": "service"}, {"phase": "idle"}),
    ]
    store.create(rows, {"file": "/p.yaml", **SteadyClock.resume({}, None).facts()}, at_s=10.0)
    return store


def event(type_, path, **data):
    return JournalEntry("event", type_, path, data)


# --------------------------------------------------------------------------------------------- rows


def test_a_pipeline_says_who_runs_it(reader, home):
    """The daemon's pid is shown while that very process lives, and only then."""
    pipeline = reader.pipeline("digits")
    assert (pipeline.state, pipeline.launched_s) == ("up", 10.0)
    assert pipeline.daemon_pid == os.getpid()
    assert pipeline.owner.token == "ours"
    with closing(open_store(home, "scripts")) as other:
        other.claim(Owner(os.getpid(), 1, "an earlier boot", "ghost", 1))
    assert [row.name for row in reader.pipelines()] == ["digits", "scripts"]
    assert reader.pipeline("scripts").daemon_pid is None


def test_an_unknown_pipeline_is_named(reader):
    """A name that was never launched has an exit code of its own."""
    with pytest.raises(NoSuchTarget, match="no pipeline is called 'digit'"):
        reader.pipeline("digit")


def test_nodes_come_in_the_order_of_the_tree(reader):
    """Nodes are returned as they were written: parents before children, siblings in start order."""
    rows = reader.nodes("digits")
    assert [row.path for row in rows] == ["digits", "digits/train", "digits/serve"]
    assert rows[1] == ("digits/train", "digits", "task", 0, {"kind": "task"}, {"phase": "idle"})
    assert reader.nodes("other") == []


def test_the_newest_life_and_measurement_of_each_segment(reader, store):
    """For the tree there is one life and one measurement per segment, the newest of each."""
    lives = [
        LifeRecord("digits/train", 9, reason_kind="oom"),
        LifeRecord("digits/train", 10, pid=5, evidence={"enforcement": {"memory": "kernel"}}),
        LifeRecord("digits/gone", 3),
    ]
    store.save(Commit(at_s=11.0, lives=lives))
    samples = [("digits/train", 9, 30.0), ("digits/train", 10, 20.0), ("digits/train", 10, 21.0)]
    store.add_samples([Sample(*sample) for sample in samples])
    newest = reader.latest_lives("digits")
    assert set(newest) == {"digits/train"}
    assert newest["digits/train"].incarnation == 10
    assert newest["digits/train"].evidence == {"enforcement": {"memory": "kernel"}}
    latest = reader.latest_samples("digits")
    assert {path: (row.incarnation, row.at_s) for path, row in latest.items()} == {
        "digits/train": (10, 21.0)
    }
    assert [life.incarnation for life in reader.lives("digits/train", limit=1)] == [10]


def test_the_journal_can_be_narrowed(reader, store):
    """By node and what is below it, by kind, by age, by the last line seen, by number."""
    paths = ("digits/data", "digits/data-2", "digits/data/ingest", "digits")
    store.create([NodeRow(path, "", "task", 0, {}, {}) for path in paths], {}, at_s=0.0)
    entries = [
        event("A", "digits/data"),
        event("B", "digits/data-2"),
        JournalEntry("report", "C", "digits/data/ingest", {}),
        event("D", "digits"),
    ]
    for at, entry in enumerate(entries):
        store.save(Commit(at_s=float(at), journal=[entry]))

    def types(**narrowed):
        return "".join(row.type for row in reader.journal("digits", **narrowed))

    first = reader.journal("digits", limit=4)[0]
    assert types() == "ABCD"
    assert types(path="digits/data") == "AC"
    assert types(path="digits/gone") == ""
    assert types(path="digits") == "ABCD"
    assert types(kinds=("report",)) == "C"
    assert types(kinds=("report", "event"), since_s=2.0) == "CD"
    assert types(after_id=first.id) == "BCD"
    assert types(after_id=first.id, since_s=0.0) == "BCD"
    assert types(after_id=first.id, since_s=2.0, path="digits/data") == "C"
    assert types(limit=2) == "CD"
    assert reader.journal("other") == []


def test_time_goes_on_as_the_daemon_counts_it(reader, store):
    """The reader's clock is the pipeline's, with the facts that the daemon has kept."""
    clock = SteadyClock.resume(store.load_info(), None)
    before_s = clock.now_s()
    now_s = reader.now_s(reader.pipeline("digits"))
    assert before_s <= now_s <= clock.now_s()


def test_ports_are_shown(reader, store):
    """The remembered numbers can be read."""
    store.ports({"serve/http": 4321})
    assert reader.ports("digits") == {"serve/http": 4321}


# ----------------------------------------------------------------------------------- beside writers


def test_a_change_is_noticed(reader, store):
    """Following needs no rows to be read while nobody writes."""
    assert not reader.changed()
    store.save(Commit(at_s=11.0))
    store.save(Commit(at_s=12.0, journal=[event("A", "digits")]))
    assert reader.changed()
    assert not reader.changed()


def test_a_moment_is_one_instant(reader, store):
    """What is written while a picture is being read does not show in half of it."""
    with reader.moment():
        assert reader.nodes("digits")[1].state == {"phase": "idle"}
        step = Commit(at_s=11.0, nodes={"digits/train": {"phase": "x"}}, lives=[LifeRecord("a", 1)])
        store.save(step)
        assert reader.nodes("digits")[1].state == {"phase": "idle"}
        assert reader.lives("a") == []
    assert reader.nodes("digits")[1].state == {"phase": "x"}


def test_a_writer_in_mid_transaction_does_not_hold_up_a_reader(home, store):
    """A step that is being written is not waited for, and not seen."""
    with closing(sqlite3.connect(home / "state.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE nodes SET state = '{}'")
        with StoreReader(home / "state.db") as reader:
            assert reader.nodes("digits")[1].state == {"phase": "idle"}
        writer.execute("ROLLBACK")


DIE_IN_MID_WRITE = """
    import os, signal, sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("PRAGMA cache_size = 5")  # so that unfinished pages reach the log
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE nodes SET state = '{}'")
    connection.execute("CREATE TABLE rubbish AS WITH RECURSIVE n(i) AS "
                       "(SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) "
                       "SELECT i, randomblob(1000) FROM n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_daemon_killed_in_mid_write_does_not_make_reads_fail(home):
    """The log that it left behind is read up to its last whole step."""
    store = launched(home)
    store.save(Commit(at_s=11.0, nodes={"digits/train": {"phase": "saved"}}))
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DIE_IN_MID_WRITE), str(home / "state.db")],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert (home / "state.db-wal").stat().st_size > 100_000
    with StoreReader(home / "state.db") as reader:
        assert reader.nodes("digits")[1].state == {"phase": "saved"}
    # The same files, found by the first process after all others are gone.
    copy = home.parent / "copy"
    shutil.copytree(home, copy)
    (copy / "state.db-shm").unlink()
    store.close()
    with StoreReader(copy / "state.db") as reader:
        assert reader.nodes("digits")[1].state == {"phase": "saved"}


def test_reading_changes_nothing(home):
    """A reader leaves the database as it was, to the byte."""
    launched(home).close()
    before = (home / "state.db").read_bytes()
    with StoreReader(home / "state.db") as reader:
        reader.nodes("digits")
        reader.latest_lives("digits")
    assert (home / "state.db").read_bytes() == before


# --------------------------------------------------------------------------- where nobody may write


@contextmanager
def read_only(folder):
    """Let this process read the folder, and not write to it; root does so as nobody."""
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


@pytest.fixture
def visible_home():
    """A home that nobody can reach too, unlike those of pytest."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


def test_a_read_only_folder_of_a_pipeline_at_rest(visible_home):
    """Without a log beside the database it is read as a file that nobody changes."""
    launched(visible_home).close()
    assert not (visible_home / "state.db-wal").exists()
    with read_only(visible_home), StoreReader(visible_home / "state.db") as reader:
        assert len(reader.nodes("digits")) == 3
        assert not reader.changed()


def test_a_read_only_folder_of_a_running_daemon(visible_home):
    """The log of a living daemon is read, not skipped."""
    store = launched(visible_home)
    store.save(Commit(at_s=11.0, nodes={"digits/train": {"phase": "newest"}}))
    with read_only(visible_home), StoreReader(visible_home / "state.db") as reader:
        assert reader.nodes("digits")[1].state == {"phase": "newest"}
    store.close()


def test_a_read_only_folder_with_a_log_that_cannot_be_read(visible_home):
    """Old facts are never shown as if they were the newest: it is refused, with a reason."""
    store = launched(visible_home)
    copy = visible_home.parent / "copy"
    shutil.copytree(visible_home, copy)
    store.close()
    (copy / "state.db-shm").unlink()
    message = "cannot open the store"
    with read_only(copy), pytest.raises(StoreError, match=message) as caught:
        StoreReader(copy / "state.db")
    assert "who owns it" in caught.value.hint


# ----------------------------------------------------------------------------------------- refusals


def test_a_home_without_a_database_is_explained(home):
    """Before the first launch the answer is what to type, and nothing is made."""
    with pytest.raises(NotRunning, match="nothing was launched here yet") as caught:
        StoreReader(home / "state.db")
    assert "psup launch" in caught.value.hint
    assert not home.exists()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", NotRunning, "nothing was launched here yet"),
        (b"no database, but somebody's notes " * 100, StoreError, "not a database"),
    ],
    ids=["empty", "foreign"],
)
def test_what_is_no_store_is_explained(home, content, error, message):
    """Neither a launch that died at once nor a foreign file ends in a raw error of SQLite."""
    home.mkdir()
    (home / "state.db").write_bytes(content)
    with pytest.raises(error, match=message):
        StoreReader(home / "state.db")
    assert (home / "state.db").read_bytes() == content


def test_a_path_with_odd_characters_is_found(tmp_path):
    """Blanks, question marks and percent signs in $PSUP_HOME are no parameters."""
    home = tmp_path / "a b?mode=memory&x=%41#c"
    launched(home).close()
    with StoreReader(home / "state.db") as reader:
        assert len(reader.nodes("digits")) == 3


def test_reading_imports_nothing_heavy():
    """Read commands pay for neither Ray nor sqlite-utils nor YAML nor the retrying library."""
    program = f"import sys, {store_reader.__name__}, supervisor.cli.home; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"ray", "sqlite_utils", "yaml", "tenacity", "psutil", "supervisor.runtime.ports"}
    assert heavy.isdisjoint(shown.stdout.split())
