"""What a body's environment and command line hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from supervisor.cell.surroundings import program, variables, way_in
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Body, Health, Probe, Quota, SegmentSpec, Shutdown
from supervisor.runtime.ports import Entry, StartOrder


def order(
    environment: Mapping[str, str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    health: Health | None = None,
    **quota: Any,
) -> StartOrder:
    body = Body(run="m:f", env=env or {}, params={"rate": 0.1}, ports={"http": 8001, "grpc-x": 2})
    spec = SegmentSpec(
        "a-b",
        body=body,
        quota=Quota(**quota),
        health=health or Health(),
        shutdown=Shutdown(signal="SIGINT"),
    )
    return StartOrder(
        path="p/q/a-b",
        incarnation=3,
        spec=spec,
        attempt=2,
        last_exit=ExitReason(ExitKind.OOM),
        environment=environment or {},
        scratch="/s",
        checkpoint="/c",
        log="/l",
        service_ports={"serve/http": 8002},
    )


def made(start: StartOrder, devices: Mapping[str, str] | None = None) -> dict[str, str]:
    return variables(start, notify_socket="/r/x", token="t", devices=devices or {})


def test_a_body_is_told_about_itself() -> None:
    """All that `Context` gives is in the environment, for programs in any language."""
    got = made(order())
    assert json.loads(got.pop("PSUP_PARAMS")) == {"rate": 0.1}
    assert got == {
        "PSUP_PATH": "p/q/a-b",
        "PSUP_PIPELINE": "p",
        "PSUP_SEGMENT": "a-b",
        "PSUP_INCARNATION": "3",
        "PSUP_ATTEMPT": "2",
        "PSUP_LAST_EXIT": "oom",
        "PSUP_SCRATCH": "/s",
        "PSUP_CHECKPOINT": "/c",
        "PSUP_STOP_SIGNAL": "SIGINT",
        "PSUP_TOKEN": "t",
        "NOTIFY_SOCKET": "/r/x",
        "PSUP_PORT_HTTP": "8001",
        "PSUP_PORT_GRPC_X": "2",
        "PSUP_PORT_A_B_HTTP": "8001",
        "PSUP_PORT_A_B_GRPC_X": "2",
        "PSUP_PORT_SERVE_HTTP": "8002",
        "PYTHONUNBUFFERED": "1",
    }


def test_the_file_goes_over_the_terminal_and_ours_over_both() -> None:
    """Precedence: `env:` wins over the terminal; nobody can forge what is ours."""
    got = made(order({"A": "1", "B": "1", "PSUP_PATH": "x"}, env={"B": "2", "PSUP_TOKEN": "x"}))
    assert (got["A"], got["B"], got["PSUP_PATH"], got["PSUP_TOKEN"]) == ("1", "2", "p/q/a-b", "t")


def test_the_ports_of_an_outer_pipeline_do_not_leak_in() -> None:
    """A pipeline launched from within a body does not see that body's ports."""
    got = made(order({"PSUP_PORT_OTHER": "1", "WATCHDOG_USEC": "5", "PSUP_PIPELINE_DIR": "/d"}))
    assert "PSUP_PORT_OTHER" not in got
    assert "WATCHDOG_USEC" not in got
    assert got["PSUP_PIPELINE_DIR"] == "/d"


def test_thread_counts_follow_the_cpu_quota_unless_the_user_chose() -> None:
    """Numeric libraries would start a thread per core of the machine."""
    got = made(order({"MKL_NUM_THREADS": "7"}, cpu_cores=1.5))
    assert (got["OMP_NUM_THREADS"], got["MKL_NUM_THREADS"]) == ("2", "7")
    assert "OMP_NUM_THREADS" not in made(order())


def test_gpus_are_taken_from_the_scheduler_only_when_asked_for() -> None:
    """Ray says in the cell's environment which devices it gave."""
    given = {"CUDA_VISIBLE_DEVICES": "3", "OTHER": "x"}
    assert made(order(gpus=1.0), given)["CUDA_VISIBLE_DEVICES"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in made(order(), given)


def test_the_watchdog_is_announced_in_microseconds() -> None:
    """A heartbeat may be missing for as many periods as failures are allowed."""
    health = Health(alive=Probe("notify", period_s=2.0, failures=3))
    assert made(order(health=health))["WATCHDOG_USEC"] == "6000000"


def test_a_callable_is_recognisable_in_ps() -> None:
    """The runner's command line names path and incarnation."""
    assert program(order())[-2:] == ["p/q/a-b#3", "m:f"]


def test_the_way_in_lists_every_limit() -> None:
    """Groups are joined before anything else is limited, and the parent is named."""
    entry = Entry(
        join=["/g/1", "/g/2"],
        rlimits={"RLIMIT_NOFILE": 64},
        nice=5,
        oom_score_adj=300,
        cores=[0, 1],
    )
    command = way_in(entry, parent_pid=9, report_fd=4, program=["prog", "--x"])
    assert command[command.index("--report") :] == [
        *("--report", "4", "--parent", "9", "--join", "/g/1", "--join", "/g/2"),
        *("--nice", "5", "--oom-score-adj", "300", "--cores", "0,1"),
        *("--rlimit", "RLIMIT_NOFILE=64", "--", "prog", "--x"),
    ]
