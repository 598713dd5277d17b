"""`psup plan`, `apply` and `set` against a real driver, doorbell and store; only bodies pretend."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from cli_world import World

from supervisor.adapters.fake_backend import FakeBackend, FakeCells
from supervisor.adapters.sqlite_store import open_store
from supervisor.config import load
from supervisor.daemon.blueprints import DaemonBlueprints
from supervisor.daemon.fingerprint import HomeFingerprint
from supervisor.daemon.parcel import Parcel, seal
from supervisor.daemon.wakeup import Doorbell
from supervisor.runtime.clock import SteadyClock
from supervisor.runtime.driver import Driver, Outside
from supervisor.runtime.executor import Executor, Places, segments_of
from supervisor.runtime.inbox import Inbox
from supervisor.runtime.opening import open_new
from supervisor.runtime.ports import Notice
from supervisor.runtime.process_identity import this_process

FILE = """
pipeline: shop
children:
  till: {command: [sleep, "9"], kind: service, env: {KEY: s3cret}}
  back:
    children:
      count: {command: [sleep, "9"], kind: service}
"""


class Shop:
    """The pipeline of `FILE`, driven in a thread of this process."""

    def __init__(self, home: Path, file: Path) -> None:
        self.file = file
        spec = load(file, environment={"PATH": "/usr/bin:/bin"}).spec
        self._store = open_store(home, spec.name)
        self._store.claim(this_process("shop"))
        clock = SteadyClock.resume({}, None)
        self.inbox = Inbox(clock)
        self.backend = FakeBackend(FakeCells())
        parcel = Parcel("l", str(home), str(file), spec, {})
        blueprints = DaemonBlueprints(
            parcel, seal(parcel), resolve=lambda one: dict(segments_of(one)), facts=lambda _: {}
        )
        self._bell = Doorbell(home, spec.name, self.inbox.knock, on_delivery=blueprints.receive)
        executor = Executor(self.backend, dict(segments_of(spec)), Places(lambda path: home / path))
        outside = Outside(
            self._store,
            clock,
            executor,
            self.inbox,
            blueprints=blueprints,
            fingerprint=HomeFingerprint(home),
        )
        facts = {**clock.facts(), "file": str(file), "enforcement_mode": "cgroup2"}
        self.driver: Driver = open_new(spec, facts, outside)
        self._thread = threading.Thread(target=self._drive)

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def settle(self, world: World) -> None:
        """Return when the driver has acted on all that was asked: an answer comes before the act.

        Each of these is refused in a turn of its own, after the acts of the turn before.
        """
        for _ in range(3):
            assert world.run("start", "till", "--no-wait").exit_code == 1

    def _drive(self) -> None:
        with self._bell:
            self.driver.run(leave_when_failed=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.inbox.drain()
        self._thread.join()
        self._store.close()


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Iterator[Shop]:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE, encoding="utf-8")
    with Shop(world.home, file) as open_shop:
        yield open_shop


def test_a_file_that_runs_as_it_is_is_no_difference(world, shop):
    """Exit code 0, one sentence, and the same in JSON."""
    result = world.run("plan", str(shop.file))
    assert (result.exit_code, result.stdout) == (0, "shop: nothing is different\n")
    facts = json.loads(world.run("plan", str(shop.file), "--json").stdout)
    assert facts == {"schema_version": 1, "pipeline": "shop", "state": "up", "changes": []}


def test_a_plan_tells_each_node_and_what_happens_to_it(world, shop):
    """Signs, fields, effects, exit code 1; and the value of a variable is nowhere."""
    changed = FILE.replace("s3cret", "0ther").replace("count:", "clean:")
    shop.write(changed + "max_restarts: 9\n")
    result = world.run("plan", str(shop.file))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "~ shop  at once, no restart",
        "    max_restarts: 5 -> 9 (at once, no restart)",
        "~ shop/till  restarts this segment",
        "    body.env.KEY changed (restarts this segment)",
        "+ shop/back/clean  starts in its place",
        "- shop/back/count  stops and leaves",
    ]


def test_a_plan_of_what_was_never_launched_is_all_new(world, shop):
    """Every node is new; nothing is asked of any daemon."""
    shop.write(FILE.replace("shop", "stall"))
    lines = world.run("plan", str(shop.file)).stdout.splitlines()
    assert [line[0] for line in lines] == ["+", "+", "+"]


def test_apply_does_what_plan_has_shown(world, shop):
    """The same lines, the daemon's answer, and then nothing is different any more."""
    shop.write(FILE.replace("s3cret", "0ther"))
    planned = world.run("plan", str(shop.file)).stdout
    result = world.run("apply", str(shop.file))
    assert (result.exit_code, result.stdout) == (0, planned)
    assert "psup: shop: 1 changed" in result.stderr
    assert world.run("plan", str(shop.file)).exit_code == 0
    shop.settle(world)
    assert ("stop", "shop/till", 1) in shop.backend.orders
    assert ("stop", "shop/back/count", 1) not in shop.backend.orders


def test_no_value_of_the_environment_reaches_the_disk(world, shop):
    """Neither the one that was launched nor the one that was applied."""
    shop.write(FILE.replace("s3cret", "0ther-s3cret"))
    assert world.run("apply", str(shop.file)).exit_code == 0
    stored = b"".join(path.read_bytes() for path in world.home.rglob("*") if path.is_file())
    assert b"s3cret" not in stored


def test_apply_of_another_pipelines_file_changes_nothing(world, shop):
    """Named with -p it is a usage error; without, there is no such pipeline."""
    shop.write(FILE.replace("shop", "stall"))
    named = world.run("apply", str(shop.file), "-p", "shop")
    assert named.exit_code == 2
    assert "is pipeline stall, not shop" in named.stderr
    assert world.run("apply", str(shop.file)).exit_code == 7
    assert shop.driver.tree.declared.name == "shop"


def test_set_changes_a_limit_in_the_living_body(world, shop):
    """Nothing is restarted; the backend is told to adjust; show has the new value."""
    result = world.run("set", "count", "quota.memory=3GiB")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "~ shop/back/count  at once, no restart",
        "    quota.memory_bytes: none -> 3221225472 (at once, no restart)",
    ]
    shop.settle(world)
    assert shop.backend.orders[-1] == ("adjust", "shop/back/count", 1)
    assert "3.0G" in world.run("show", "count").stdout


def test_set_refuses_less_memory_than_is_in_use(world, shop):
    """Named, with exit code 1, and the limit is what it was."""
    facts = {"memory_bytes": 2**30}
    shop.inbox.receive(Notice(None, "shop/back/count", 1, facts))
    result = world.run("set", "count", "quota.memory=8MiB")
    assert result.exit_code == 1
    assert "was refused (memory_in_use): shop/back/count uses 1024 MiB" in result.stderr
    assert not any(verb == "adjust" for verb, _, _ in shop.backend.orders)


def test_set_takes_several_values_and_supervisors_too(world, shop):
    """Keys are those of pipeline files, with their units."""
    assert world.run("set", "back", "max_restarts=1", "max_seconds=7s").exit_code == 0
    (_, back) = shop.driver.tree.declared.children
    assert (back.max_restarts, back.max_seconds) == (1, 7.0)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nobody", "owner=ann"), 4, "no node is called 'nobody'"),
        (("count", "quota.memry=1GiB"), 2, "did you mean `memory`?"),
        (("count", "quota.memory=1"), 2, "quota.memory"),
    ],
)
def test_a_wrong_set_changes_nothing(world, shop, words, code, said):
    """Who is meant and what is set are checked before anybody is asked."""
    result = world.run("set", *words)
    assert result.exit_code == code
    assert said in result.stderr
    assert not any(verb == "adjust" for verb, _, _ in shop.backend.orders)


def test_a_change_without_a_daemon_says_so(world, tmp_path):
    """Exit code 7 and what to type; plan still works, from the store alone."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE, encoding="utf-8")
    spec = load(file, environment={"PATH": "/usr/bin:/bin"}).spec
    world.launch(dataclasses.replace(spec, max_restarts=1), daemon="gone", pipeline_state="down")
    assert world.run("apply", str(file)).exit_code == 7
    lines = world.run("plan", str(file)).stdout.splitlines()
    assert lines[0] == "shop is down; this is against its last launch"


def test_scale_changes_the_number_of_instances(world, shop):
    """Up and back; what is no template, and too many, are refused and change nothing."""
    extra = '  desk: {command: [sleep, "9"], kind: service, replicas: 1, max_children: 3}\n'
    shop.write(FILE + extra)
    assert world.run("apply", str(shop.file)).exit_code == 0
    result = world.run("scale", "desk=3")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["+ shop/desk/1  starts in its place", "+ shop/desk/2  starts in its place"],
    )
    shop.settle(world)
    assert ("start", "shop/desk/2", 1) in shop.backend.orders
    too_many = world.run("scale", "desk=4")
    assert (too_many.exit_code, "from 1 to 3" in too_many.stderr) == (1, True)
    none = world.run("scale", "till=2")
    assert (none.exit_code, "till has no `replicas`" in none.stderr) == (1, True)
    assert world.run("scale", "desk").exit_code == 2
    assert world.run("scale", "desk=1").exit_code == 0
    shop.settle(world)
    stops = [path for verb, path, _ in shop.backend.orders if verb == "stop"]
    assert stops == ["shop/desk/2", "shop/desk/1"]
