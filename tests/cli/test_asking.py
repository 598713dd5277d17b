"""Asking a daemon and waiting for its answer, through real files and processes."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from supervisor.adapters.sqlite_store import open_store
from supervisor.cli import asking
from supervisor.cli.asking import ask, wait_for_answer
from supervisor.cli.store_reader import StoreReader
from supervisor.core.actions import Answer
from supervisor.errors import NoSuchTarget, NotRunning, StoreError, TimedOut
from supervisor.runtime.clock import SteadyClock
from supervisor.runtime.ports import Commit, NodeRow
from supervisor.runtime.process_identity import started_ticks, this_process


@pytest.fixture
def file(tmp_path):
    return tmp_path / "home" / "state.db"


@pytest.fixture
def store(file):
    store = open_store(file.parent, "digits")
    store.claim(this_process("ours"))
    info = {"file": "/d/pipeline.yaml", **SteadyClock.resume({}, None).facts()}
    store.create([NodeRow("digits", "", "supervisor", 0, {}, {})], info, at_s=1.0)
    yield store
    store.close()


@pytest.fixture
def child():
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def owned_by(store, child, parent_pid):
    """Let the pipeline belong to a daemon that is that child."""
    store.disown()
    store.claim(
        replace(
            this_process("child"),
            pid=child.pid,
            started_ticks=started_ticks(child.pid),
            parent_pid=parent_pid,
        )
    )


def end(child):
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def test_a_request_reaches_the_daemon_and_its_answer_comes_back(file, store):
    """What was asked is what the daemon sees; what it answers is what the person gets."""
    request = ask(file, "restart", "digits/train", {"all": True})
    (pending,) = store.pending_requests()
    assert (pending.id, pending.verb, pending.path) == (request, "restart", "digits/train")
    assert pending.args == {"all": True}
    answer = Answer(request, False, "not_running", "it rests")
    responder = threading.Timer(0.02, store.save, args=[Commit(at_s=1_000_000.0, answers=[answer])])
    responder.start()
    row = wait_for_answer(file, request, timeout_s=30.0)
    responder.join()
    assert (row.id, row.ok, row.code, row.text) == (request, False, "not_running", "it rests")
    assert (row.answered_s, row.verb, row.args) == (1_000_000.0, "restart", {"all": True})


def test_a_request_has_the_pipelines_time(file, store):
    """When it was asked is told on the pipeline's own clock."""
    clock = SteadyClock.resume(store.load_info(), None)
    before_s = clock.now_s()
    request = ask(file, "down", "digits")
    with StoreReader(file) as reader:
        row = reader.request(request)
    assert before_s <= row.asked_s <= clock.now_s()
    assert (row.args, row.ok, row.answered_s) == ({}, None, None)


def test_nobody_there_is_said_at_once(file, store):
    """Without a daemon nothing is written, and the way back is named."""
    store.disown()
    with pytest.raises(NotRunning, match="digits is not running") as caught:
        ask(file, "stop", "digits/train")
    assert caught.value.hint == "psup launch /d/pipeline.yaml"
    assert store.pending_requests() == []


def test_a_dead_daemon_with_a_living_heart_is_asked(file, store, child):
    """While its parent is about to restart the daemon, requests are accepted."""
    owned_by(store, child, parent_pid=os.getpid())
    end(child)
    ask(file, "stop", "digits/train")
    assert len(store.pending_requests()) == 1


def test_a_daemon_that_dies_without_an_answer_is_reported(file, store, child):
    """Waiting ends when nobody is left who could answer."""
    owned_by(store, child, parent_pid=2**22 + 1)
    request = ask(file, "stop", "digits/train")
    end(child)
    with pytest.raises(NotRunning, match="ended before it answered stop digits/train"):
        wait_for_answer(file, request, timeout_s=60.0)


def test_a_last_answer_counts(file, store, child):
    """A daemon that answers `down` and ends has answered."""
    owned_by(store, child, parent_pid=2**22 + 1)
    request = ask(file, "down", "digits")
    store.save(Commit(at_s=2.0, answers=[Answer(request, True, "ok", "down")]))
    store.disown()
    end(child)
    assert wait_for_answer(file, request, timeout_s=60.0).ok is True


def test_an_answer_between_two_looks_counts(file, store, child):
    """A daemon that answers and ends just after a look is not taken for one that never answered."""
    owned_by(store, child, parent_pid=2**22 + 1)
    request = ask(file, "down", "digits")
    with StoreReader(file) as reader:
        unanswered = reader.request(request)
        store.save(Commit(at_s=2.0, answers=[Answer(request, True, "ok", "down")]))
        end(child)
        asking._check_life(reader, unanswered)
    assert wait_for_answer(file, request, timeout_s=60.0).ok is True


def test_a_wait_that_is_too_long_ends(file, store):
    """The time limit is kept, and the request is still there afterwards."""
    request = ask(file, "stop", "digits/train")
    with pytest.raises(TimedOut, match=r"not answered within 0\.05 s") as caught:
        wait_for_answer(file, request, timeout_s=0.05)
    assert "psup why digits/train" in caught.value.hint
    assert [pending.id for pending in store.pending_requests()] == [request]


def test_unknown_pipelines_and_homes_are_named(file, store, tmp_path):
    """Neither an unknown pipeline nor an empty home is written to."""
    with pytest.raises(NoSuchTarget, match="no pipeline is called 'scripts'"):
        ask(file, "stop", "scripts/a")
    with pytest.raises(NotRunning, match="nothing was launched here"):
        ask(tmp_path / "state.db", "stop", "digits/train")
    assert not (tmp_path / "state.db").exists()
    with pytest.raises(NoSuchTarget, match="no request 77"):
        wait_for_answer(file, 77, timeout_s=1.0)


def test_a_store_that_cannot_be_written_is_explained(file, store):
    """An error of SQLite reaches nobody as such."""
    store._connection.execute("DROP TABLE requests")
    with pytest.raises(StoreError, match="cannot ask for stop digits/train"):
        ask(file, "stop", "digits/train")


def test_asking_does_not_disturb_another_pipeline(file, store):
    """Requests of two pipelines in one file stay apart."""
    with closing(open_store(file.parent, "scripts")) as other:
        other.claim(this_process("ours too"))
        first = ask(file, "stop", "digits/train")
        second = ask(file, "stop", "scripts/a")
        assert [pending.id for pending in store.pending_requests()] == [first]
        assert [pending.id for pending in other.pending_requests()] == [second]
