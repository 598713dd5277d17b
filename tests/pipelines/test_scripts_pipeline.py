"""The plain programs of `pipelines/scripts`, run by hand with the environment that they rely on."""

from __future__ import annotations

import csv
import http.client
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "pipelines" / "scripts"


def run(*command: str, data: Path) -> str:
    environment = {**os.environ, "PSUP_PIPELINE_DIR": str(data)}
    done = subprocess.run(
        command, cwd=SCRIPTS, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def summarised(tmp_path: Path) -> Path:
    """A folder after both tasks."""
    run("python3", "make_orders.py", "--orders", "200", data=tmp_path)
    run("sh", "summarise.sh", data=tmp_path)
    return tmp_path


def test_the_summary_adds_up_to_the_orders(summarised: Path) -> None:
    """Awk's pieces and turnover are those that Python counts."""
    pieces: dict[str, int] = {}
    turnover: dict[str, float] = {}
    with (summarised / "orders.csv").open() as orders:
        for row in csv.DictReader(orders):
            product, number = row["product"], int(row["pieces"])
            pieces[product] = pieces.get(product, 0) + number
            turnover[product] = turnover.get(product, 0) + number * float(row["price"])
    with (summarised / "summary.csv").open() as summary:
        found = {row["product"]: row for row in csv.DictReader(summary)}
    assert list(found) == sorted(pieces)
    for product, row in found.items():
        assert int(row["pieces"]) == pieces[product]
        assert float(row["turnover"]) == pytest.approx(turnover[product])


def test_the_tasks_leave_nothing_unfinished(summarised: Path) -> None:
    """Only whole files stay, and a second run gives the same ones."""
    before = {file.name: file.read_bytes() for file in summarised.iterdir()}
    assert set(before) == {"orders.csv", "summary.csv"}
    run("python3", "make_orders.py", "--orders", "200", data=summarised)
    run("sh", "summarise.sh", data=summarised)
    assert {file.name: file.read_bytes() for file in summarised.iterdir()} == before


@pytest.fixture
def web(summarised: Path, free_port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The page server, listening."""
    process = subprocess.Popen(
        ["sh", "web.sh"],
        cwd=SCRIPTS,
        env={
            **os.environ,
            "PSUP_PIPELINE_DIR": str(summarised),
            "PSUP_PORT_HTTP": str(free_port),
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert b"Serving HTTP" in process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_the_page_shows_the_summary(
    web: subprocess.Popen[bytes], summarised: Path, free_port: int
) -> None:
    """On the port it was given, from the pipeline's folder."""
    connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=10)
    connection.request("GET", "/summary.csv")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, (summarised / "summary.csv").read_bytes())
    connection.close()


def test_the_stop_signal_reaches_the_server_through_its_shell(
    web: subprocess.Popen[bytes],
) -> None:
    """The shell gave its process to the server: SIGTERM ends it, and nothing else is left."""
    web.terminate()
    assert web.wait(10) == -15


@pytest.mark.parametrize("abstract", [False, True])
def test_the_clock_speaks_systemds_protocol(tmp_path: Path, abstract: bool) -> None:  # noqa: FBT001
    """READY once, then the watchdog with a status, over a named or an abstract socket."""
    name = f"@psup-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name.replace("@", "\0"))
        heard.settimeout(20)
        clock = subprocess.Popen(
            ["python3", "clock.py"],
            cwd=SCRIPTS,
            env={**os.environ, "NOTIFY_SOCKET": name},
            stdout=subprocess.DEVNULL,
        )
        try:
            said = [heard.recv(4096).decode() for _ in range(2)]
        finally:
            clock.kill()
            clock.wait()
    assert said[0] == "READY=1"
    assert re.fullmatch(r"WATCHDOG=1\nSTATUS=it is \d\d:\d\d:\d\d", said[1])


def test_the_clock_also_runs_when_nobody_listens() -> None:
    """Without NOTIFY_SOCKET it is an ordinary program that prints the time."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    clock = subprocess.Popen(
        ["python3", "clock.py"], cwd=SCRIPTS, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert clock.stdout is not None
    assert re.fullmatch(r"\d\d:\d\d:\d\d\n", clock.stdout.readline())
    clock.kill()
    clock.communicate()


def test_the_programs_know_nothing_of_psup() -> None:
    """They would run under cron just the same."""
    programs = [file for file in SCRIPTS.iterdir() if file.suffix in {".py", ".sh"}]
    assert len(programs) == 4
    for file in programs:
        assert not re.search(r"import supervisor|from supervisor|psup ", file.read_text())
