"""One life of the daemon, in this process, over real SQLite and bodies in memory."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.adapters.fake_backend import Behaviour
from supervisor.adapters.sqlite_store import open_store
from supervisor.cli.asking import ask
from supervisor.cli.store_reader import StoreReader
from supervisor.core.spec import Body, Kind, Quota, SegmentSpec, Shutdown, SupervisorSpec
from supervisor.daemon import heart
from supervisor.daemon.parcel import Options, Parcel, seal
from supervisor.daemon.progress import Progress
from supervisor.daemon.service import Service
from supervisor.errors import BackendUnavailable
from supervisor.runtime.ports import Owner, StartOrder
from supervisor.runtime.process_identity import this_process
from tests.runtime.world import Backend, Bodies

SERVE = SegmentSpec("serve", kind=Kind.SERVICE, body=Body(command=("x",), ports={"http": 0}))
TRAIN = SegmentSpec("train")


class Cluster:
    """A cluster whose bodies live in this process; its first start may end a daemon."""

    def __init__(self) -> None:
        self.bodies = Bodies()
        self.facts = {"ray_address": "127.0.0.1:1", "ray_embedded": True}
        self.left = 0
        self.joined = 0
        self.on_join: Callable[[], None] = lambda: None
        self.lose: Callable[[str], None] = lambda _: None

    def join(self, parcel: Parcel, lose: Callable[[str], None]) -> Cluster:
        self.joined += 1
        self.lose = lose
        self.on_join()
        signal.signal(signal.SIGTERM, as_ray_would)  # ray.init() does that, too
        self.backend = Backend(self.bodies)
        return self

    def leave(self) -> None:
        self.left += 1


def as_ray_would(number: int, _frame: object) -> None:
    raise AssertionError(f"signal {number} went to Ray's handler")


class Home:
    """A `$PSUP_HOME` in which one pipeline is launched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = Cluster()
        self.told: list[dict[str, Any]] = []
        self.parcel = Parcel(
            launch="l1",
            home=str(root),
            file="/p/pipeline.yaml",
            spec=SupervisorSpec("p", (SERVE, TRAIN)),
            environment={"WHO": "ann"},
        )

    def live(self, parcel: Parcel | None = None) -> int:
        """Run one life of the daemon to its end; return its exit code."""
        reading, writing = os.pipe()
        code = Service(seal(parcel or self.parcel), Progress(writing), self.cluster.join).run()
        os.close(writing)
        with os.fdopen(reading) as lines:
            self.told = [json.loads(line) for line in lines if line.strip()]
        return code

    def bury(self) -> None:
        """Make the last daemon, which was this very process, a dead one."""
        with closing(sqlite3.connect(self.root / "state.db")) as connection, connection:
            connection.execute("UPDATE pipelines SET owner = json_set(owner, '$.started_ticks', 1)")

    @property
    def row(self) -> Any:
        with StoreReader(self.root / "state.db") as reader:
            return reader.pipeline("p")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    root = tmp_path / "home"
    yield Home(root)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def when_started(home: Home, path: str, deed: Callable[[], object]) -> list[StartOrder]:
    """Do something when that segment is started first; return what collects all start orders."""
    orders: list[StartOrder] = []

    def look(order: StartOrder) -> None:
        orders.append(order)
        if [one.path for one in orders].count(path) == 1 and order.path == path:
            deed()

    home.cluster.bodies.on_start = look
    return orders


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_drains_and_leaves_nothing_behind(home):
    """Systemd's stop: bodies down, cells closed, Ray left, pipeline down and nobody's."""
    when_started(home, "p/train", terminate)
    assert home.live() == heart.ENDED
    assert home.cluster.bodies.living == {}
    assert home.cluster.bodies.orders[-1] == ("close", "", 1)
    assert home.cluster.left == 1
    assert (home.row.state, home.row.owner) == ("down", None)


def test_the_store_knows_what_a_person_may_ask_about_a_launch(home):
    """File, folder, clock, Ray, enforcement and ports stand in the pipeline's info."""
    when_started(home, "p/train", terminate)
    home.live()
    info = home.row.info
    assert info["launch"] == "l1"
    assert (info["file"], info["folder"]) == ("/p/pipeline.yaml", "/p")
    assert (info["ray_address"], info["ray_embedded"]) == ("127.0.0.1:1", True)
    assert info["enforcement_mode"] in {"cgroup2", "cgroup1", "rlimit"}
    assert {"offset_s", "boot_id"} <= set(info)
    assert list(info["ports"]) == ["serve/http"]


def test_a_person_can_ask_for_down(home):
    """A request row and a ring of the bell do what SIGTERM does."""
    file = home.root / "state.db"

    def ask_for_down() -> None:
        from supervisor.daemon.wakeup import ring

        ask(file, "down", "p")
        assert ring(home.root, "p")

    when_started(home, "p/train", ask_for_down)
    assert home.live() == heart.ENDED
    assert home.row.state == "down"


def test_a_second_interrupt_kills(home):
    """Ctrl-C twice: who does not go is killed, and the daemon still leaves orderly."""

    def interrupt_twice() -> None:
        home.cluster.bodies.is_deaf("p/serve")
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    when_started(home, "p/train", interrupt_twice)
    patient = replace(SERVE, shutdown=Shutdown(grace_s=None))
    spec = SupervisorSpec("p", (patient, TRAIN))
    assert home.live(replace(home.parcel, spec=spec)) == heart.ENDED
    assert {verb for verb, *_ in home.cluster.bodies.orders} >= {"kill"}
    assert home.cluster.bodies.living == {}


def test_a_second_sigterm_does_not_kill(home):
    """A service manager signals the whole group, so the heart's forwarded one comes twice."""
    when_started(home, "p/train", lambda: (terminate(), terminate()))
    home.live()
    assert "kill" not in {verb for verb, *_ in home.cluster.bodies.orders}


def test_the_next_life_adopts_and_restarts_nothing(home):
    """Ray was lost for a moment: AGAIN; the next process finds the same bodies."""
    when_started(home, "p/train", lambda: home.cluster.lose("the raylet ended"))
    assert home.live() == heart.AGAIN
    assert home.cluster.left == 0
    assert home.row.state == "up"
    assert home.cluster.bodies.living == {"p/serve": 1, "p/train": 1}
    home.bury()
    home.cluster.on_join = terminate
    assert home.live() == heart.ENDED
    assert ("adopt", "p/serve", 1) in home.cluster.bodies.orders
    assert home.cluster.bodies.ever_begun == 2


def test_a_launch_takes_over_what_a_killed_daemon_and_heart_left_running(home):
    """Hours of training are not ended because the same file is launched again."""
    when_started(home, "p/train", lambda: home.cluster.lose("gone"))
    home.live()
    home.bury()
    home.cluster.on_join = terminate
    home.live(replace(home.parcel, launch="l2"))
    assert home.cluster.bodies.ever_begun == 2
    assert home.row.info["launch"] == "l2"


def test_a_launch_of_a_changed_tree_begins_anew(home):
    """What ran before is another pipeline, whatever its name: it is swept away first."""
    when_started(home, "p/train", lambda: home.cluster.lose("gone"))
    home.live()
    home.bury()
    when_started(home, "p/train", terminate)
    changed = replace(home.parcel.spec, max_restarts=1)
    home.live(replace(home.parcel, launch="l2", spec=changed))
    assert home.cluster.bodies.ever_begun == 4


def test_a_launch_after_everything_went_down_begins_anew(home):
    """Nothing lives that could be taken over: the tasks run again."""
    for launch in ("l1", "l2"):
        when_started(home, "p/train", terminate)
        home.live(replace(home.parcel, launch=launch))
    assert home.cluster.bodies.ever_begun == 4


def test_ports_are_the_same_over_launches_and_told_to_every_body(home):
    """`auto` is a number that stays; peers learn it by the short name."""
    orders = when_started(home, "p/train", terminate)
    home.live()
    later = when_started(home, "p/train", terminate)
    home.live(replace(home.parcel, launch="l2"))
    orders += later
    serve = [order.spec.body.ports["http"] for order in orders if order.path == "p/serve"]
    assert len(serve) == 2
    assert serve[0] == serve[1] > 0
    assert {order.service_ports["serve/http"] for order in orders} == {serve[0]}


def test_a_body_gets_the_launching_terminals_environment_and_where_it_is(home):
    """What the person had, and the folder that the pipeline's segments share."""
    orders = when_started(home, "p/train", terminate)
    home.live()
    data = home.root / "pipelines" / "p" / "data"
    assert [order.environment for order in orders] == [
        {"WHO": "ann", "PSUP_PIPELINE_DIR": str(data)}
    ] * 2
    assert data.is_dir()


def test_a_pipeline_that_somebody_runs_is_refused(home):
    """The launcher is told who, and this daemon has touched nothing."""
    home.root.mkdir(mode=0o700)
    store = open_store(home.root, "p")
    store.claim(replace(this_process("somebody else"), pid=os.getpid()))
    assert home.live() == heart.REFUSED
    assert str(os.getpid()) in home.told[0]["refused"]
    assert home.told[0]["exit_code"] == 1
    assert home.cluster.joined == 0
    store.close()


def test_a_cluster_that_cannot_be_reached_refuses_the_launch(home):
    """Said at once, to the person who launches; trying again would fail the same way."""

    def no_ray() -> None:
        raise BackendUnavailable("no Ray here", hint="psup doctor")

    home.cluster.on_join = no_ray
    assert home.live() == heart.REFUSED
    assert home.told[-1]["refused"] == "no Ray here"
    assert (home.row.owner, home.row.launched_s) == (None, None)


def test_a_cluster_that_cannot_be_reached_any_more_is_tried_again(home):
    """A pipeline that runs already is not given up because Ray is away."""
    when_started(home, "p/train", lambda: home.cluster.lose("gone"))
    home.live()
    home.bury()

    def no_ray() -> None:
        raise BackendUnavailable("no Ray here")

    home.cluster.on_join = no_ray
    assert home.live() == heart.AGAIN


def test_a_launch_that_fails_half_way_is_taken_back(home):
    """Cells are closed, Ray is left, and the store says that nothing runs."""

    def no_ray() -> None:
        raise BackendUnavailable("Ray went away")

    when_started(home, "p/serve", no_ray)
    assert home.live() == heart.REFUSED
    assert home.told[-1]["refused"] == "Ray went away"
    assert home.cluster.bodies.orders[-1] == ("close", "", 1)
    assert home.cluster.left == 1
    assert (home.row.state, home.row.owner) == ("down", None)


def test_a_daemon_whose_pipeline_was_taken_over_is_not_restarted(home):
    """LOST ends the heart too, and no body is touched."""

    def take_over() -> None:
        usurper = open_store(home.root, "p", is_alive=lambda _: False)
        usurper.claim(Owner(os.getpid(), 1, "boot", "usurper", 0))
        usurper.close()
        terminate()

    when_started(home, "p/train", take_over)
    assert home.live() == heart.LOST
    assert "close" not in {verb for verb, *_ in home.cluster.bodies.orders}
    assert home.cluster.bodies.living


def test_a_quota_that_nobody_can_hold_is_refused_when_that_was_asked_for(home):
    """--strict-quotas names every such quota, before Ray is even started."""
    greedy = replace(TRAIN, quota=Quota(gpus=1.0, time_s=5.0))
    spec = SupervisorSpec("p", (greedy,))
    options = Options(strict_quotas=True)
    assert home.live(replace(home.parcel, spec=spec, options=options)) == heart.REFUSED
    assert "p/train: gpus" in home.told[-1]["refused"]
    assert "time" not in home.told[-1]["refused"]
    assert home.cluster.joined == 0


def test_a_pipeline_that_failed_ends_a_foreground_daemon_with_its_own_code(home):
    """A container ends with 5, and says `failed`, not `down`."""
    from supervisor.core.events import ExitKind, ExitReason
    from supervisor.core.spec import Strategy

    spec = SupervisorSpec("p", (TRAIN,), strategy=Strategy.ONE_FOR_ALL, max_restarts=0)
    parcel = replace(home.parcel, spec=spec, options=Options(foreground=True))
    failure = ExitReason(ExitKind.EXIT, "3")
    home.cluster.bodies.behaves = lambda _: Behaviour(ends=failure)
    assert home.live(parcel) == heart.FAILED
    assert home.row.state == "failed"
