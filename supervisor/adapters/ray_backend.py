"""Cells as detached Ray actors: the only file that talks to Ray on the daemon's side.

Knows names, namespaces, handles and options, and nothing of lives or segments. Ray's own restarts
are off: there is one restart layer, and it is not here. On a cluster that we did not start, its
nodes must be able to import `supervisor`: nothing is shipped to them, because a `runtime_env` makes
Ray start a fresh worker for every cell. Read next: `cell/fleet.py` (who uses this),
`embedded_ray.py` (whose Ray it is, usually).
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from supervisor.core.spec import Path
from supervisor.errors import BackendUnavailable

WATCHES = "watches"
"""Concurrency group of the calls that stay pending; all others share one thread, in order. Several
threads for all would run them in any order, and a kill that overtook its start would be lost."""
WATCHES_AT_ONCE = 4
"""Only the newest stays; the older ones are on their way home."""
_TITLE = "psup-cell"


@dataclass(frozen=True, slots=True)
class NodeSide:
    """What runs on the nodes; classes and functions must be importable by name there.

    Args:
        cell_class: constructed with a path and `arguments`; see `cell/cell.py`.
        sweep: called with the pipeline, the lives to keep, and `arguments`.
        arguments: keyword arguments of both.
        sweep_here: `sweep` for a Ray that has no other node than this machine; no worker must be
            started for it.
    """

    cell_class: type[Any]
    sweep: Callable[..., Sequence[str]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sweep_here: Callable[[str, Mapping[Path, int]], Sequence[str]] | None = None


class RayActor:
    """One cell.

    Args:
        ray: the module.
        handle: Ray's own.
    """

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray = ray
        self._handle = handle
        self.described: Future[Mapping[str, Any]] = self.call("describe")

    def call(self, method: str, *values: Any) -> Future[Any]:
        """Call a method; Ray keeps the call until the actor is up."""
        bound = getattr(self._handle, method)
        if method == "watch":
            bound = bound.options(concurrency_group=WATCHES)
        answer: Future[Any] = bound.remote(*values).future()
        return answer

    def kill(self) -> None:
        """Have Ray kill the worker."""
        self._ray.kill(self._handle)

    def wait_until_gone(self, limit_s: float) -> None:
        """Wait for the worker of a killed actor if it runs on this machine."""
        if not self.described.done() or self.described.exception() is not None:
            return
        pid: int = self.described.result()["cell_pid"]
        with suppress(OSError):  # it is gone
            handle = os.pidfd_open(pid)
            title = FilePath(f"/proc/{pid}/cmdline").read_bytes()
            if title.startswith(f"ray::{_TITLE}".encode()):
                select.select([handle], [], [], limit_s)
            os.close(handle)


class RayActors:
    """`fleet.Actors` of one pipeline, on a Ray that is up.

    Args:
        pipeline: names, with `scope`, the namespace of its actors.
        node_side: what runs on the nodes.
        scope: keeps apart what several homes run under the same name on one cluster.
        address: where Ray listens.
        environment: what Ray's library needs in the environment of this process; set for good.

    Raises:
        BackendUnavailable: nothing answers at that address, or it does not let us in.
    """

    def __init__(
        self,
        pipeline: str,
        node_side: NodeSide,
        *,
        address: str,
        environment: Mapping[str, str],
        scope: str = "",
    ) -> None:
        self._pipeline = pipeline
        self._namespace = f"psup-{scope}-{pipeline}"
        self._node_side = node_side
        self._classes: dict[Path, Any] = {}
        self._own_thread = ThreadPoolExecutor(1, thread_name_prefix="psup-sweep")
        self._ray = _connect(address, environment, self._namespace)
        self._idle_task = self._ray.remote(num_cpus=0, max_retries=0)(_do_nothing)
        self._sweep_task = self._ray.remote(num_cpus=0, max_retries=0)(node_side.sweep)

    def make(self, path: Path, name: str, gpus: float) -> RayActor:
        """Ask Ray for an actor that outlives this process and that Ray never restarts."""
        options = self._actor_class(path).options(
            name=name,
            namespace=self._namespace,
            lifetime="detached",
            max_restarts=0,
            max_task_retries=0,
            num_cpus=0,
            num_gpus=gpus,
        )
        return RayActor(self._ray, options.remote(path, **self._node_side.arguments))

    def names(self) -> Sequence[str]:
        """Return the names of the actors in our namespace."""
        listed = self._ray.util.list_named_actors(all_namespaces=True)
        return [one["name"] for one in listed if one["namespace"] == self._namespace]

    def find(self, name: str) -> RayActor | None:
        """Return the actor of that name."""
        try:
            return RayActor(self._ray, self._ray.get_actor(name, namespace=self._namespace))
        except ValueError:  # there is none, or it died since it was listed
            return None

    def is_death(self, problem: BaseException) -> bool:
        """Tell the death of an actor from an error in it."""
        return isinstance(problem, self._ray.exceptions.RayActorError)

    def keep_warm(self) -> None:
        """Leave an idle worker behind for the next cell.

        Ray starts workers ahead of need only when it sees tasks queue up behind a running one, so
        there must be two. They end on a worker of their own, which Ray never turns into an actor.
        """
        for _ in range(2):
            self._idle_task.remote()

    def sweep(self, keep: Mapping[Path, int]) -> Sequence[Future[Sequence[str]]]:
        """Sweep here, or run the sweep as a task on every node: groups lie where the cells are."""
        if self._node_side.sweep_here is not None:
            return [self._own_thread.submit(self._node_side.sweep_here, self._pipeline, keep)]
        there = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        nodes = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        return [
            self._sweep_task.options(scheduling_strategy=there(node, soft=False))
            .remote(self._pipeline, dict(keep), **self._node_side.arguments)
            .future()
            for node in nodes
        ]

    def leave(self) -> None:
        """Disconnect; detached actors live on."""
        self._own_thread.shutdown(wait=False)
        self._ray.shutdown()

    def _actor_class(self, path: Path) -> Any:
        """Return the class of a path's actors: the cell class under the name that `ps` will show.

        Pickled, it is little more than a reference to the class that it inherits.
        """
        if path not in self._classes:
            named = type(f"{_TITLE} {path}", (self._node_side.cell_class,), {})
            groups = {WATCHES: WATCHES_AT_ONCE}
            self._classes[path] = self._ray.remote(concurrency_groups=groups)(named)
        return self._classes[path]


def _connect(address: str, environment: Mapping[str, str], namespace: str) -> Any:
    """Make this process a driver; return the module `ray`, which reads its settings on import."""
    os.environ.update(environment)
    import ray
    import ray._private.worker
    import ray.util.scheduling_strategies

    # Ray would print the death of every worker on our stdout; we tell it ourselves, with its cause.
    ray._private.worker.listen_error_messages = _hear_nothing  # type: ignore[assignment]  # noqa: SLF001
    logging.getLogger("ray").setLevel(logging.ERROR)
    local: dict[str, Any] = {}
    if address.startswith("127.0.0.1:"):
        local["_node_ip_address"] = "127.0.0.1"
    try:
        ray.init(
            address=address,
            namespace=namespace,
            configure_logging=False,
            log_to_driver=False,
            **local,
        )
    except Exception as problem:
        said = str(problem).strip().partition("\n")[0]
        raise BackendUnavailable(
            f"Ray at {address} cannot be joined: {type(problem).__name__}: {said}",
            hint="check the address and RAY_AUTH_TOKEN_PATH; psup doctor shows the state of Ray",
        ) from problem
    return ray


def _do_nothing() -> None:
    """Run on a worker."""


def _hear_nothing(*_: object) -> None:
    """Take the place of a listener."""
