"""Stores that look as a daemon would have left them: written through the real store adapter.

`digits()` is the pipeline of the README's screen: training backs off, all else is well.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from supervisor.adapters.sqlite_store import SqliteStore, open_store
from supervisor.cli.main import psup
from supervisor.core import codec, state
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import (
    Backoff,
    Body,
    Budget,
    Kind,
    NodeSpec,
    Notes,
    Quota,
    Restart,
    SegmentSpec,
    Strategy,
    SupervisorSpec,
)
from supervisor.runtime.clock import SteadyClock
from supervisor.runtime.ports import Commit, JournalEntry, LifeRecord, NodeRow, Sample
from supervisor.runtime.process_identity import this_process

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
GIB = 1024**3
MIB = 1024**2
OOM = ExitReason(ExitKind.OOM)
COMPLETED = ExitReason(ExitKind.COMPLETED)
KERNEL = {"memory": "kernel"}
ANSI = re.compile(r"\x1b\[")


def finished_process() -> int:
    """Return the pid of a process that is no more."""
    return int(
        subprocess.run(
            [sys.executable, "-S", "-c", "import os; print(os.getpid())"],
            capture_output=True,
            check=True,
        ).stdout
    )


class World:
    """One `$PSUP_HOME` with pipelines in it.

    Args:
        home: the folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700, exist_ok=True)
        self.clock = SteadyClock.resume({}, None)
        self.stores: dict[str, SqliteStore] = {}

    @property
    def now_s(self) -> float:
        return self.clock.now_s()

    def launch(
        self,
        spec: SupervisorSpec,
        states: Mapping[str, state.NodeState] | None = None,
        *,
        daemon: str = "alive",
        pipeline_state: str = "up",
        info: Mapping[str, Any] | None = None,
    ) -> SqliteStore:
        """Write a launch.

        Args:
            spec: the tree.
            states: of some nodes; the others are pending.
            daemon: "alive" (it is this very process), "dead" or "gone" (it gave up its ownership).
            pipeline_state: up, down or failed.
            info: more facts about the pipeline.
        """
        store = open_store(self.home, spec.name)
        owner = this_process(f"token-{spec.name}")
        store.claim(owner)
        facts = {"file": f"{spec.name}/pipeline.yaml", **self.clock.facts(), **(info or {})}
        store.create(list(rows_of(spec, states or {})), facts, self.now_s - 7200)
        store.save(Commit(at_s=self.now_s, pipeline_state=pipeline_state))
        self.stores[spec.name] = store
        self.leave(spec.name, daemon)
        return store

    def leave(self, name: str, daemon: str) -> None:
        """Let the daemon be "gone" (it left in order) or "dead"; nothing can be written then."""
        if daemon == "gone":
            self.stores[name].disown()
        if daemon == "dead":
            self.kill_daemon(name)

    def kill_daemon(self, name: str) -> None:
        """Let the store name a daemon that does not run any more, nor its parent."""
        pid = finished_process()
        owner = dataclasses.replace(this_process("dead"), pid=pid, parent_pid=pid)
        import sqlite3

        with sqlite3.connect(self.home / "state.db") as connection:
            connection.execute(
                "UPDATE pipelines SET owner = ? WHERE name = ?",
                (json.dumps(dataclasses.asdict(owner)), name),
            )
        connection.close()

    def put(self, path: str, node_state: state.NodeState) -> None:
        """Change the state of one node, as a daemon's step does."""
        self.save(path, nodes={path: codec.encode_state(node_state)})

    def save(self, pipeline_path: str, **changes: Any) -> None:
        """Write one step."""
        at_s = changes.pop("at_s", self.now_s)
        self.stores[pipeline_path.partition("/")[0]].save(Commit(at_s=at_s, **changes))

    def life(self, path: str, incarnation: int, **facts: Any) -> None:
        """Write a life of a segment."""
        self.save(path, lives=[LifeRecord(path, incarnation, **facts)])

    def sample(self, path: str, incarnation: int, **facts: Any) -> None:
        """Write a measurement."""
        store = self.stores[path.partition("/")[0]]
        store.add_samples([Sample(path, incarnation, at_s=facts.pop("at_s", self.now_s), **facts)])

    def journal(self, path: str, *entries: JournalEntry, ago_s: float = 0.0) -> None:
        """Write lines of the journal that belong to one step."""
        self.save(path, journal=entries, at_s=self.now_s - ago_s)

    def run(self, *args: str, env: Mapping[str, str] | None = None) -> Result:
        """Run one command line in this home, with its output in a pipe."""
        environment = {
            "PSUP_HOME": str(self.home),
            "NO_COLOR": "",
            "FORCE_COLOR": "",
            **(env or {}),
        }
        return CliRunner().invoke(psup, list(args), env=environment)

    def environment(self) -> dict[str, str]:
        """Return the environment of a real `psup` process in this home."""
        return {**os.environ, "PSUP_HOME": str(self.home)}

    def close(self) -> None:
        for store in self.stores.values():
            store.close()


def rows_of(
    spec: NodeSpec, states: Mapping[str, state.NodeState], parent: str = "", position: int = 0
) -> list[NodeRow]:
    """Return the rows of a tree, parents before children."""
    path = f"{parent}/{spec.name}" if parent else spec.name
    is_supervisor = isinstance(spec, SupervisorSpec)
    resting = state.SupervisorState() if is_supervisor else state.SegmentState()
    row = NodeRow(
        path=path,
        parent=parent,
        kind="supervisor" if is_supervisor else str(spec.kind),
        position=position,
        spec=codec.encode_spec(spec, secrets=False),
        state=codec.encode_state(states.get(path, resting)),
    )
    below = spec.children if isinstance(spec, SupervisorSpec) else ()
    return [
        row,
        *(
            line
            for place, child in enumerate(below)
            for line in rows_of(child, states, path, place)
        ),
    ]


def task(name: str, **facts: Any) -> SegmentSpec:
    return SegmentSpec(name, body=facts.pop("body", Body(run=f"segments:{name}")), **facts)


def service(name: str, **facts: Any) -> SegmentSpec:
    return task(name, kind=Kind.SERVICE, restart=Restart.PERMANENT, **facts)


DIGITS = SupervisorSpec(
    "digits",
    children=(
        SupervisorSpec(
            "data",
            strategy=Strategy.REST_FOR_ONE,
            children=(task("ingest"), task("features", after=("digits/data/ingest",))),
        ),
        SupervisorSpec(
            "training",
            restart=Restart.TEMPORARY,
            children=(
                task(
                    "train",
                    after=("digits/data/features",),
                    quota=Quota(memory_bytes=GIB, cpu_cores=1.0),
                    budget=Budget(5, 3600.0),
                    backoff=Backoff(first_s=2.0),
                    notes=Notes(owner="ml-team", runbook="https://runbooks.example/train"),
                ),
            ),
        ),
        task("evaluate"),
        service(
            "serve",
            quota=Quota(memory_bytes=512 * MIB),
            body=Body(run="segments:serve", ports={"http": 0}, env={"API_KEY": "hunter2"}),
        ),
    ),
)


def done(since_s: float, incarnation: int = 1) -> state.SegmentState:
    return state.SegmentState(
        state.Ended(since_s, state.Ending.COMPLETED), incarnation, last_exit=COMPLETED
    )


def digits(home: Path) -> World:
    """Return the world of the README's screen."""
    world = World(home)
    now_s = world.now_s
    hours_ago_s = now_s - 7300
    up = state.SupervisorState(state.Up(hours_ago_s), 1)
    restarts = (now_s - 1500, now_s - 700, now_s - 8.0)
    world.launch(
        DIGITS,
        {
            "digits": up,
            "digits/data": up,
            "digits/data/ingest": done(hours_ago_s),
            "digits/data/features": done(hours_ago_s),
            "digits/training": up,
            "digits/training/train": state.SegmentState(
                state.BackingOff(now_s - 8.2, now_s + 7.7),
                incarnation=3,
                streak=3,
                restarts=restarts,
                restart_count=3,
                last_exit=OOM,
            ),
            "digits/evaluate": done(now_s - 130),
            "digits/serve": state.SegmentState(state.Running(hours_ago_s), 1),
        },
    )
    for path in ("digits/data/ingest", "digits/data/features", "digits/evaluate"):
        world.life(
            path, 1, started_s=hours_ago_s, ended_s=now_s - 130, pid=4000, reason_kind="completed"
        )
    for number, ended_s in enumerate(restarts, start=1):
        world.life(
            "digits/training/train",
            number,
            started_s=ended_s - 20,
            ready_s=ended_s - 20,
            ended_s=ended_s,
            pid=41000 + number,
            reason_kind="oom",
            evidence={
                "peak_memory_bytes": GIB,
                "oom_kills": 1,
                "exit_code": None,
                "signal": "SIGKILL",
                "quota": {"memory_bytes": GIB},
                "enforcement": KERNEL,
                "last_log_lines": ["epoch 4 loss 0.21", "epoch 5 loss 0.19"],
            },
        )
    world.life(
        "digits/serve",
        1,
        started_s=hours_ago_s,
        ready_s=hours_ago_s,
        pid=41873,
        node="here",
        evidence={"enforcement": KERNEL},
    )
    world.sample("digits/serve", 1, memory_bytes=212 * MIB, cpu_cores=0.03, processes=1)
    world.stores["digits"].ports({"serve/http": 43121})
    return world


class Stage:
    """A real daemon process over bodies that only pretend; see `puppet.py`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "puppet.py"), str(home)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def psup(self, *args: str, **facts: Any) -> subprocess.CompletedProcess[str]:
        """Run one command line as a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *args],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PSUP_HOME": str(self.home)},
            timeout=60,
            **facts,
        )

    def end(self) -> None:
        """Kill the daemon, as a machine would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
