"""One life of the daemon: claim the pipeline, boot or restore its tree, drive it, leave orderly.

The composition root of the daemon's process: here, and nowhere else behind the command line, ports
meet products. It ends with one of the exit codes of `heart.py`, which decide whether there is a
next life. A fresh process is the cure for everything that is not understood: the store holds the
truth, cells hold what happened meanwhile, and `reopen` puts the two together.
Read next: `heart.py` (the parent), `runtime/driver.py` (the loop).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path as FilePath
from typing import Protocol

from supervisor.adapters.sqlite_store import open_store
from supervisor.cli.home import Home
from supervisor.core import Tree, restore
from supervisor.core.changes import LIVE_QUOTAS
from supervisor.core.codec import encode_spec
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.core.state import Ending, SupervisorEnded
from supervisor.daemon import heart
from supervisor.daemon.blueprints import DaemonBlueprints
from supervisor.daemon.fingerprint import HomeFingerprint
from supervisor.daemon.loopback import choose, port_names, with_numbers
from supervisor.daemon.node import home_scope, make_limiter
from supervisor.daemon.parcel import Parcel, unseal
from supervisor.daemon.progress import Progress
from supervisor.daemon.wakeup import Doorbell
from supervisor.errors import (
    AlreadyRunning,
    LostOwnership,
    QuotaUnenforceable,
    SupervisorError,
)
from supervisor.runtime.clock import SteadyClock
from supervisor.runtime.driver import Driver, Outside, living
from supervisor.runtime.executor import Executor, Places, for_peers, segments_of
from supervisor.runtime.inbox import Inbox, Knock
from supervisor.runtime.opening import open_new, reopen
from supervisor.runtime.ports import Backend, Commit, Json, Limiter, Store
from supervisor.runtime.process_identity import boot_id, this_process
from supervisor.runtime.quota_words import declared

_log = logging.getLogger(__name__)


class Cluster(Protocol):
    """Where the bodies run, once it was joined."""

    @property
    def backend(self) -> Backend:
        """The way to the bodies."""

    @property
    def facts(self) -> Json:
        """What the store should know about it: `ray_address`, `ray_embedded`."""

    def leave(self) -> None:
        """Let go of it; what we started ourselves and nobody else uses is stopped."""


Join = Callable[[Parcel, Callable[[str], None]], Cluster]
"""Reaches the cluster that a parcel asks for; the callable is told when it is lost."""


class Service:
    """One launch of one pipeline, in this process.

    Args:
        descriptor: of the parcel, which says what to run.
        progress: who watches the launch.
        join: reaches the cluster.
    """

    def __init__(self, descriptor: int, progress: Progress, join: Join) -> None:
        self._descriptor = descriptor
        self._parcel = parcel = unseal(descriptor)
        self._progress = progress
        self._join = join
        self._name = parcel.spec.name
        self._home = Home(FilePath(parcel.home))
        self._begun = False

    def run(self) -> int:
        """Live one life; return the exit code for the heart."""
        try:
            with closing(open_store(self._home.root, self._name)) as store:
                store.claim(this_process(secrets.token_hex(16)))
                return self._run_owned(store)
        except LostOwnership as error:
            _log.error("%s", error)
            return heart.LOST
        except AlreadyRunning as error:
            self._progress.refused(error)
            _log.warning("%s", error)
            return heart.LOST if self._begun else heart.REFUSED

    def _run_owned(self, store: Store) -> int:
        try:
            return self._live(store)
        except LostOwnership:
            raise
        except SupervisorError as error:
            if self._begun:
                _log.exception("this process cannot go on; the next one may")
                return heart.AGAIN
            _log.warning("the launch is refused: %s", error)
            self._progress.refused(error)
            if store.load_info().get("launch") == self._parcel.launch:
                moment = store.last_moment()
                store.save(Commit(moment.at_s if moment else 0.0, pipeline_state="down"))
            store.disown()
            return heart.REFUSED

    def _live(self, store: Store) -> int:
        info = store.load_info()
        self._begun = info.get("launch") == self._parcel.launch or self._is_orphan(store, info)
        clock = SteadyClock.resume(info, store.last_moment())
        inbox = Inbox(clock)
        obey_signals(inbox)
        limiter = make_limiter(scope=home_scope(self._parcel.home))
        if self._parcel.options.strict_quotas and not self._begun:
            refuse_unheld(self._parcel, limiter)
        if info.get("launch") == self._parcel.launch:
            self._parcel = unseal(self._descriptor, int(info.get("generation", 0)))
        blueprints = DaemonBlueprints(
            self._parcel,
            self._descriptor,
            resolve=lambda spec: self._resolved(store, spec),
            facts=lambda spec: {"tree": fingerprint(spec)},
        )
        bell = Doorbell(self._home.root, self._name, inbox.knock, os.getppid(), blueprints.receive)
        with bell:
            self._progress.doing("reaching Ray")
            cluster = self._join(self._parcel, inbox.lose)
            obey_signals(inbox)  # Ray has put a handler of its own in place of ours
            facts = {**clock.facts(), **cluster.facts, "enforcement_mode": limiter.mode}
            with self._undoing(cluster):
                executor = self._executor(store, cluster.backend)
                outside = Outside(
                    store,
                    clock,
                    executor,
                    inbox,
                    self._progress.saved,
                    blueprints=blueprints,
                    fingerprint=HomeFingerprint(self._home.root),
                    live_quotas=LIVE_QUOTAS if limiter.mode.startswith("cgroup") else frozenset(),
                )
                driver = self._driver(outside, facts)
            driver.run(leave_when_failed=self._parcel.options.foreground)
            return self._leave(store, cluster, driver, clock.now_s())

    def _is_orphan(self, store: Store, info: Json) -> bool:
        """Tell whether bodies of this very tree still run that no daemon looks after.

        Daemon and heart were killed, and a person launches the same pipeline again: hours of
        training are taken over, not ended. A tree that was changed since begins anew.
        """
        if info.get("boot_id") != boot_id() or info.get("tree") != fingerprint(self._parcel.spec):
            return False
        states = store.load_states()
        if states.keys() != Tree(self._parcel.spec).nodes.keys():
            return False  # a change of it was under way
        return bool(living(restore(self._parcel.spec, states)))

    @contextmanager
    def _undoing(self, cluster: Cluster) -> Iterator[None]:
        """Leave nothing behind when a launch fails before it has begun."""
        try:
            yield
        except LostOwnership:
            raise
        except SupervisorError:
            if not self._begun:
                cluster.backend.close(stop_cells=True)
                cluster.leave()
            raise

    def _driver(self, outside: Outside, facts: Json) -> Driver:
        """Boot a new launch, or go on with the one that is in the store."""
        spec = self._parcel.spec
        if self._begun:
            self._progress.doing("taking over running segments")
            outside.store.note({**facts, **self._info(outside.executor)})
            driver = reopen(spec, outside, self._parcel.standing)
            _log.info("took over launch %s of %s", self._parcel.launch, self._name)
            return driver
        self._progress.doing("starting segments")
        driver = open_new(spec, {**facts, **self._info(outside.executor)}, outside)
        self._begun = True
        _log.info("began launch %s of %s", self._parcel.launch, self._name)
        return driver

    def _info(self, executor: Executor) -> Json:
        return {
            "launch": self._parcel.launch,
            "generation": self._parcel.generation,
            "tree": fingerprint(self._parcel.spec),
            "file": self._parcel.file,
            "folder": str(FilePath(self._parcel.file).parent),
            "launched_by": self._parcel.launched_by,
            "ports": dict(port_names(executor.segments)),
        }

    def _executor(self, store: Store, backend: Backend) -> Executor:
        segments = self._resolved(store, self._parcel.standing or self._parcel.spec)
        data = self._home.data(self._name)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Executor(
            backend=backend,
            segments=segments,
            places=Places(self._home.segment),
            environment={**self._parcel.environment, "PSUP_PIPELINE_DIR": str(data)},
            service_ports=for_peers(segments),
        )

    def _resolved(self, store: Store, spec: SupervisorSpec) -> Mapping[Path, SegmentSpec]:
        declared = dict(segments_of(spec))
        return with_numbers(declared, self._ports(store, dict(port_names(declared))))

    def _ports(self, store: Store, declared: Json) -> dict[str, int]:
        """Return a number for every port that asked for one: the same over all restarts."""
        wanted: dict[str, int] = {}
        for name, number in declared.items():
            if number == 0:
                taken = store.taken_ports() | frozenset(wanted.values())
                wanted[name] = choose(f"{self._home.root}/{self._name}/{name}", taken)
        return dict(store.ports(wanted))

    def _leave(self, store: Store, cluster: Cluster, driver: Driver, now_s: float) -> int:
        """Take everything down that this pipeline has up, and say so last."""
        root = driver.tree.root.state
        gave_up = isinstance(root.phase, SupervisorEnded) and root.phase.how is Ending.GAVE_UP
        state = "failed" if gave_up else "down"
        cluster.backend.close(stop_cells=True)
        store.save(Commit(now_s, pipeline_state=state))
        cluster.leave()
        store.disown()
        _log.info("%s is down", self._name)
        return heart.FAILED if root.failed or state == "failed" else heart.ENDED


def fingerprint(spec: SupervisorSpec) -> str:
    """Return a word that two trees share if they are the same; values of `env:` do not count.

    >>> fingerprint(SupervisorSpec("p")) == fingerprint(SupervisorSpec("p", max_restarts=6))
    False
    """
    text = json.dumps(encode_spec(spec, secrets=False), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def refuse_unheld(parcel: Parcel, limiter: Limiter) -> None:
    """Refuse a pipeline that declares a quota which this node cannot hold.

    Raises:
        QuotaUnenforceable: names every such quota.
    """
    unheld = [
        f"{path}: {quota}"
        for path, segment in segments_of(parcel.spec)
        for quota in declared(segment.quota)
        if limiter.holds(quota) == "none"
    ]
    if unheld:
        raise QuotaUnenforceable(
            f"this node ({limiter.mode}) cannot hold {', '.join(unheld)}",
            hint="psup doctor says what is missing; launch without --strict-quotas to go on anyway",
        )


def obey_signals(inbox: Inbox) -> None:
    """SIGTERM drains, SIGINT drains and then hurries, SIGHUP is nothing to a daemon."""
    asked = False

    def drain(number: int, _frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            inbox.knock(Knock.HURRY)
        else:
            inbox.drain()
        asked = True

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, drain)
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heart.WATCHED)


def main(arguments: Sequence[str]) -> int:
    """Run one life.

    Args:
        arguments: PIPELINE and HOME (for a person who reads `ps`), the descriptors of the parcel
            and of the progress pipe.
    """
    _pipeline, _home, parcel_fd, progress_fd = arguments
    heart.name_process("psup-daemon")
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s daemon[%(process)d] %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    os.set_inheritable(int(parcel_fd), False)
    progress = Progress(int(progress_fd))
    from supervisor.daemon.ray_side import join_ray

    return Service(int(parcel_fd), progress, join_ray).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
