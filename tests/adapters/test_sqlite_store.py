"""What only a file can show: processes that die or race, permissions, schema, a full disk."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from contextlib import closing

import pytest
from sqlite_utils import Database

from supervisor.adapters import sqlite_store
from supervisor.adapters.sqlite_file import SCHEMA_VERSION
from supervisor.adapters.sqlite_schema import migrations
from supervisor.adapters.sqlite_store import list_pipelines, open_store
from supervisor.cli.store_reader import StoreReader
from supervisor.core.actions import Answer
from supervisor.errors import AlreadyRunning, LostOwnership, StoreError
from supervisor.runtime.ports import Commit, JournalEntry, LifeRecord, NodeRow, Owner
from supervisor.runtime.process_identity import this_process

GHOST = Owner(pid=1, started_ticks=0, boot_id="an earlier boot", token="ghost", parent_pid=1)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(home):
    store = open_store(home, "digits")
    store.claim(this_process("ours"))
    store.create([NodeRow("digits", "", "supervisor", 0, {}, {"n": 0})], {}, at_s=0.0)
    yield store
    store.close()


def python(program, *arguments, **options):
    """Start a program of ours in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )


# ---------------------------------------------------------------------------------- death and races

SAVE_FOR_EVER = """
    import sys
    from pathlib import Path
    from supervisor.adapters.sqlite_store import open_store
    from supervisor.runtime.ports import Commit, JournalEntry, LifeRecord
    from supervisor.runtime.process_identity import this_process

    store = open_store(Path(sys.argv[1]), "digits")
    store.claim(this_process("writer"))
    n = store.load_states()["digits"]["n"]
    while True:
        n += 1
        store.save(Commit(
            at_s=float(n),
            nodes={"digits": {"n": n}},
            journal=[JournalEntry("event", "Exited", "digits/train", {"n": n})] * 4,
            lives=[LifeRecord("digits/train", n, ended_s=1.0, evidence={"log": "x" * 2000})],
        ))
        print(n, flush=True)
"""


def test_a_killed_writer_loses_no_step_that_was_saved(home, store):
    """SIGKILL amid a stream of saves: every acknowledged step is there, and none is half."""
    store.disown()
    acknowledged = 0
    for steps_before_kill in (1, 40, 173):
        writer = python(SAVE_FOR_EVER, home)
        for _ in range(steps_before_kill):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")[:-1]
        writer.wait()
        acknowledged = max([acknowledged, *(int(line) for line in rest)])

        with StoreReader(home / "state.db") as reader:
            saved = reader.nodes("digits")[0].state["n"]
            journal = [row.data["n"] for row in reader.journal("digits", limit=100_000)]
            lives = sorted(life.incarnation for life in reader.lives("digits/train", 100_000))
        assert acknowledged <= saved <= acknowledged + 1
        assert journal == [n for n in range(1, saved + 1) for _ in range(4)]
        assert lives == list(range(1, saved + 1))


CLAIM = """
    import sys
    from pathlib import Path
    from supervisor.adapters.sqlite_store import open_store
    from supervisor.errors import AlreadyRunning
    from supervisor.runtime.process_identity import this_process

    store = open_store(Path(sys.argv[1]), "digits")
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        store.claim(this_process(sys.argv[2]))
        print("won", flush=True)
    except AlreadyRunning:
        print("lost", flush=True)
    sys.stdin.readline()
"""


def test_of_claimers_at_once_exactly_one_wins(home):
    """Processes that claim one pipeline at the same moment: one owns it, the others are told."""
    claimers = [python(CLAIM, home, f"token-{n}") for n in range(4)]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    for claimer in claimers:
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    outcomes = sorted(claimer.stdout.readline() for claimer in claimers)
    for claimer in claimers:
        claimer.communicate("end\n")
    assert outcomes == ["lost\n", "lost\n", "lost\n", "won\n"]


def test_a_dead_daemon_is_told_from_a_living_one(home):
    """A killed owner is replaced, by its process and not by its word."""
    owner = python(CLAIM, home, "first")
    owner.stdout.readline()
    owner.stdin.write("go\n")
    owner.stdin.flush()
    assert owner.stdout.readline() == "won\n"
    with closing(open_store(home, "digits")) as store:
        with pytest.raises(AlreadyRunning, match=f"daemon {owner.pid}"):
            store.claim(this_process("second"))
        owner.kill()
        # A zombie that nobody has waited for yet is dead enough.
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
        store.claim(this_process("second"))
        store.note({"taken": True})
        assert store.load_info() == {"taken": True}
    owner.communicate()


def test_an_owner_of_an_earlier_boot_is_dead(home):
    """After a reboot the same pid may live again, and is not the owner."""
    ours = this_process("second")
    former = Owner(ours.pid, ours.started_ticks, "an earlier boot", "first", ours.parent_pid)
    with closing(open_store(home, "digits")) as store:
        store.claim(former)
        store.claim(ours)
        assert list_pipelines(home) == {"digits": ours}


class HeldUp(Mapping):
    """Data that keeps the step which it is part of from being finished."""

    def __init__(self):
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __iter__(self):
        self.reached.set()
        assert self.go_on.wait(30)
        return iter(["n"])

    def __getitem__(self, _key):
        return 1

    def __len__(self):
        return 1


def test_threads_share_one_store(home, store):
    """A step of another thread waits until the one that is being written is finished."""
    data = HeldUp()
    first = threading.Thread(target=store.save, args=[step("first", data)])
    second = threading.Thread(target=store.save, args=[step("second", {"n": 2})])
    first.start()
    assert data.reached.wait(30)
    second.start()
    second.join(0.05)
    assert second.is_alive()
    data.go_on.set()
    first.join()
    second.join()
    with StoreReader(home / "state.db") as reader:
        lines = [(row.type, row.data) for row in reader.journal("digits")]
    assert lines == [("first", {"n": 1}), ("second", {"n": 2})]


def step(type_, data):
    return Commit(at_s=1.0, journal=[JournalEntry("event", type_, "", data)])


# -------------------------------------------------------------------------------- a file in trouble


def test_another_writer_is_waited_for(home, store):
    """A lock that is let go in time is no error, also when SQLite itself no longer waits."""
    store._connection.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(home / "state.db", check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.05, other.rollback)
        release.start()
        store.save(Commit(at_s=1.0, nodes={"digits": {"n": 1}}))
        release.join()
    assert store.load_states() == {"digits": {"n": 1}}


def test_a_busy_file_is_opened_with_patience(home, monkeypatch):
    """A new file that another process has locked for a moment is waited for."""
    monkeypatch.setattr(sqlite_store, "_BUSY_TIMEOUT_S", 0.001)
    home.mkdir(mode=0o700)
    with closing(sqlite3.connect(home / "state.db", check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.05, other.rollback)
        release.start()
        open_store(home, "digits").close()
        release.join()
    assert list_pipelines(home) == {}


def test_opening_a_file_that_is_up_to_date_waits_for_nobody(home, store):
    """A second pipeline is opened, and pipelines are listed, while the first is being written."""
    with closing(sqlite3.connect(home / "state.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        open_store(home, "scripts").close()
        assert set(list_pipelines(home)) == {"digits"}


def test_a_lock_that_stays_is_named(home, store, monkeypatch):
    """When another writer does not let go, the error says what to look for, and nothing is lost."""
    monkeypatch.setattr(sqlite_store, "_PATIENCE_S", 0.05)
    store._connection.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(home / "state.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"cannot save a step: .*state.db: .*locked") as caught:
            store.save(Commit(at_s=1.0, nodes={"digits": {"n": 1}}))
        assert "fuser" in caught.value.hint
    store.save(Commit(at_s=1.0, nodes={"digits": {"n": 2}}))
    assert store.load_states() == {"digits": {"n": 2}}


def test_a_full_disk_leaves_the_last_step(home, store):
    """No room: the step fails as a whole, says so, and the next one works when there is room."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = LifeRecord("digits/train", 1, evidence={"log": "x" * 100_000})
    with pytest.raises(StoreError, match="full") as caught:
        store.save(Commit(at_s=1.0, nodes={"digits": {"n": 1}}, lives=[big]))
    assert "make room" in caught.value.hint
    assert store.load_states() == {"digits": {"n": 0}}
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.save(Commit(at_s=1.0, nodes={"digits": {"n": 1}}, lives=[big]))
    assert store.load_states() == {"digits": {"n": 1}}


@pytest.mark.parametrize("successor", [True, False], ids=["replaced", "removed"])
def test_a_file_without_a_name_is_not_written(home, store, successor):
    """When the database is deleted under a daemon, that daemon has lost its pipeline."""
    for file in home.iterdir():
        file.unlink()
    if successor:
        open_store(home, "digits").close()
    with pytest.raises(LostOwnership, match="removed or replaced"):
        store.save(Commit(at_s=1.0))


def test_a_disk_without_shared_memory_is_refused(home):
    """Where SQLite cannot keep a write-ahead log, as on network disks, nothing is begun."""
    db = Database(memory=True)
    with pytest.raises(StoreError, match="cannot share memory") as caught:
        sqlite_store._make_ready(db, home / "state.db")
    assert "local disk" in caught.value.hint
    assert db.table_names() == []


def test_what_is_no_database_is_refused(home):
    """A file of another kind is named as such, and left as it is."""
    home.mkdir(mode=0o700)
    (home / "state.db").write_text("not a database, but somebody's notes " * 100)
    with pytest.raises(StoreError, match="not a database") as caught:
        open_store(home, "digits")
    assert "move" in caught.value.hint
    assert (home / "state.db").read_text().startswith("not a database, but")


# ------------------------------------------------------------------------------------------- schema


def test_the_schema_is_that_of_the_last_migration(home, store):
    """Version, number of migrations and what is recorded in the file agree."""
    with closing(sqlite3.connect(home / "state.db")) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        applied = connection.execute(
            "SELECT name FROM _sqlite_migrations WHERE migration_set = 'psup' ORDER BY id"
        ).fetchall()
    assert version == SCHEMA_VERSION == len(applied)
    assert [name for (name,) in applied] == [one.name for one in migrations._migrations]


def test_a_newer_schema_is_refused(home, store):
    """A file of a newer psup is neither read nor written, and the message says which is which."""
    with closing(sqlite3.connect(home / "state.db")) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    message = f"schema {SCHEMA_VERSION + 1}; this psup knows schemas up to {SCHEMA_VERSION}"
    with pytest.raises(StoreError, match=message) as caught:
        open_store(home, "digits")
    assert "newer psup" in caught.value.hint
    with pytest.raises(StoreError, match=message):
        StoreReader(home / "state.db")


def test_a_migration_that_fails_leaves_nothing(home, monkeypatch):
    """Half a schema is never left: the next start finds an empty file and begins anew."""
    last = migrations._migrations[-1]

    def break_down(db):
        last.fn(db)
        raise sqlite3.OperationalError("the disk has gone")

    broken = type(last)(last.name, break_down, last.transactional)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "_migrations", [*migrations._migrations[:-1], broken])
        with pytest.raises(StoreError, match="the disk has gone"):
            open_store(home, "digits")
    with closing(sqlite3.connect(home / "state.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    with closing(open_store(home, "digits")) as store:
        store.claim(this_process("ours"))


OPEN = """
    import sys
    from pathlib import Path
    from supervisor.adapters.sqlite_store import open_store
    print("ready", flush=True)
    sys.stdin.readline()
    open_store(Path(sys.argv[1]), "digits").close()
    print("opened", flush=True)
"""


def test_first_starts_at_once_make_one_schema(home):
    """Processes that meet an empty home at the same moment all get a whole database."""
    openers = [python(OPEN, home) for _ in range(4)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    outputs = [opener.communicate()[0] for opener in openers]
    assert outputs == ["opened\n"] * 4


# ------------------------------------------------------------------------------- secrets and safety


def test_only_the_user_can_read_what_is_stored(home):
    """Folder and files are closed to others, whatever the umask says."""
    umask = os.umask(0)
    try:
        store = open_store(home, "digits")
        store.claim(this_process("ours"))
    finally:
        os.umask(umask)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)
    store.close()


def test_opening_again_keeps_the_locks_of_the_first(home, store):
    """A second look from the same process does not make SQLite forget its locks on the file."""
    list_pipelines(home)
    open_store(home, "scripts").close()
    # A stranger may change the journal mode only when nobody else holds the file.
    stranger = python(
        """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], timeout=0)
        try:
            print(connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0])
        except sqlite3.OperationalError as error:
            print(error)
        """,
        home / "state.db",
    )
    assert stranger.communicate()[0] == "database is locked\n"


def test_pipelines_are_listed_with_their_owners(home, store):
    """Every pipeline ever launched is listed; an owner is shown as it described itself."""
    with closing(open_store(home, "scripts")) as other:
        other.claim(GHOST)
        assert list_pipelines(home) == {"digits": this_process("ours"), "scripts": GHOST}
        other.disown()
    assert list_pipelines(home) == {"digits": this_process("ours"), "scripts": None}


def test_a_shared_folder_is_refused(home):
    """A home that others can enter, with something in it, is refused and not changed."""
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    (home / "somebody's").write_text("file")
    with pytest.raises(StoreError, match="open to other users") as caught:
        open_store(home, "digits")
    assert "chmod 700" in caught.value.hint
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


# --------------------------------------------------------------------------------------- durability


def test_only_what_must_outlive_a_power_loss_waits_for_the_disk(store):
    """A completed task and an answer are synced; every other step is not."""
    seen = []

    def synchronous():
        return store._connection.execute("PRAGMA synchronous").fetchone()[0]

    store._connection.set_trace_callback(
        lambda sql: seen.append(sql) if sql.startswith(("PRAGMA", "BEGIN", "COMMIT")) else None
    )
    begin, commit = "BEGIN IMMEDIATE", "COMMIT"
    answer = Answer(1, ok=True, code="ok", text="")
    failed = LifeRecord("digits/train", 1, ended_s=1.0, reason_kind="error")
    done = LifeRecord("digits/train", 2, ended_s=1.0, reason_kind="completed")
    store.save(Commit(at_s=1.0, lives=[failed]))
    assert seen == [begin, commit]
    for told in (Commit(at_s=1.0, lives=[done]), Commit(at_s=1.0, answers=[answer])):
        seen.clear()
        store.save(told)
        assert seen == ["PRAGMA synchronous = FULL", begin, commit, "PRAGMA synchronous = NORMAL"]
    store._connection.set_trace_callback(None)
    assert synchronous() == 1


def test_the_owner_in_the_file_is_readable_json(home, store):
    """Other tools can see who owns a pipeline."""
    with closing(sqlite3.connect(home / "state.db")) as connection:
        text = connection.execute("SELECT owner FROM pipelines").fetchone()[0]
    assert json.loads(text)["pid"] == os.getpid()
