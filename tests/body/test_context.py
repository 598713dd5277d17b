"""What user code is given, and what it can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.body import Context


def test_it_reads_the_environment(tmp_path: Path) -> None:
    """Every attribute has its variable."""
    ctx = Context(
        {
            "PSUP_PATH": "p/a",
            "PSUP_INCARNATION": "4",
            "PSUP_ATTEMPT": "2",
            "PSUP_LAST_EXIT": "oom",
            "PSUP_PARAMS": '{"rate": 0.5}',
            "PSUP_SCRATCH": str(tmp_path / "s"),
            "PSUP_CHECKPOINT": str(tmp_path / "c"),
            "PSUP_PIPELINE_DIR": str(tmp_path / "d"),
            "PSUP_PORT_HTTP": "8001",
            "PSUP_PORT_SERVE_MODEL_GRPC": "8002",
        }
    )
    assert (ctx.path, ctx.incarnation, ctx.attempt, ctx.last_exit) == ("p/a", 4, 2, "oom")
    assert ctx.params == {"rate": 0.5}
    assert (ctx.scratch, ctx.checkpoint, ctx.data) == tuple(tmp_path / name for name in "scd")
    assert ctx.scratch.is_dir()
    assert ctx.port() == 8001
    assert ctx.port_of("serve-model", "grpc") == 8002


def test_it_can_be_made_by_hand() -> None:
    """User code can be called in a test or a debugger, without any cell."""
    ctx = Context({})
    assert (ctx.path, ctx.incarnation, ctx.params) == ("", 1, {})
    ctx.ready()
    ctx.progress(1, 2)
    ctx.logger.info("nobody minds")


def test_a_port_that_is_not_declared_is_named() -> None:
    """The message says whose port is missing."""
    with pytest.raises(KeyError, match="this segment has no port 'admin'"):
        Context({}).port("admin")
    with pytest.raises(KeyError, match="segment 'serve' has no port 'http'"):
        Context({}).port_of("serve")


def test_it_speaks_the_notify_protocol(ear) -> None:
    """Each word is one message."""
    ctx = Context({"NOTIFY_SOCKET": ear.address})
    ctx.ready()
    ctx.heartbeat()
    ctx.status("epoch 3")
    ctx.progress(3, 10)
    heard = [ear.next() for _ in range(4)]
    assert heard == ["READY=1", "WATCHDOG=1", "STATUS=epoch 3", "X_PSUP_PROGRESS=3/10"]


def test_progress_is_cheap_but_its_end_always_arrives(ear) -> None:
    """A tight loop sends little; the last step is never left out."""
    ctx = Context({"NOTIFY_SOCKET": ear.address})
    for step in range(1, 1001):
        ctx.progress(step, 1000)
    assert ear.next() == "X_PSUP_PROGRESS=1/1000"
    heard = ""
    while heard != "X_PSUP_PROGRESS=1000/1000":
        heard = ear.next()
    assert ear.is_empty()
