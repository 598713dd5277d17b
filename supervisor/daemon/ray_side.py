"""The daemon's way to Ray: joins the embedded one or a cluster, and puts a fleet of cells on it.

The only place where `EmbeddedRay`, `RayActors`, `Fleet` and `LocalCell` meet.
Read next: `service.py` (who joins), `cell/fleet.py` (the backend), `adapters/embedded_ray.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath

from supervisor.adapters.embedded_ray import EmbeddedRay
from supervisor.adapters.ray_backend import NodeSide, RayActors
from supervisor.cell.fleet import Fleet
from supervisor.cli.home import Home
from supervisor.daemon.node import LocalCell, home_scope, sweep_node
from supervisor.daemon.parcel import Parcel
from supervisor.errors import BackendUnavailable
from supervisor.runtime.ports import Backend, Json


@dataclass(frozen=True, slots=True)
class JoinedRay:
    """A Ray that this process has joined on behalf of one pipeline.

    Args:
        backend: the way to the bodies.
        facts: what the store should know.
        environment: what a body needs to join the same Ray.
        leave: lets go of it; an embedded Ray that nobody else uses is stopped.
    """

    backend: Backend
    facts: Json
    environment: Mapping[str, str]
    leave: Callable[[], None]


def join_ray(parcel: Parcel, on_loss: Callable[[str], None]) -> JoinedRay:
    """Join the Ray that the parcel asks for; blocks for seconds when it must be started first.

    Args:
        parcel: names the pipeline, the home and perhaps a cluster.
        on_loss: told once, from another thread, when an embedded Ray ends by itself. The end of a
            cluster shows in its cells; Ray ends this process a minute after losing its head.

    Raises:
        BackendUnavailable: Ray could not be started or joined.
    """
    scope = home_scope(parcel.home)
    if parcel.options.address is not None:
        node_side = NodeSide(LocalCell, sweep_node, {"scope": scope})
        return _joined(parcel, node_side, parcel.options.address, {}, _leave_nothing)
    # The heart counts as a user too: Ray must stay while it starts the next daemon.
    holders = (os.getpid(), os.getppid())
    folder = Home(FilePath(parcel.home)).ray
    embedded = EmbeddedRay(folder, parcel.spec.name, holders, preload=[LocalCell.__module__])
    address = embedded.join(on_loss)
    session = embedded.find()
    here = partial(sweep_node, scope=scope, like_pid=session.raylet.pid if session else None)
    node_side = NodeSide(LocalCell, sweep_node, {"scope": scope}, sweep_here=here)
    return _joined(parcel, node_side, address, embedded.environment, embedded.leave)


def _joined(
    parcel: Parcel,
    node_side: NodeSide,
    address: str,
    environment: Mapping[str, str],
    leave: Callable[[], None],
) -> JoinedRay:
    name = parcel.spec.name
    try:
        actors = RayActors(
            name, node_side, address=address, environment=environment, scope=home_scope(parcel.home)
        )
    except BackendUnavailable:
        leave()
        raise
    return JoinedRay(
        backend=Fleet(actors),
        facts={"ray_address": address, "ray_embedded": parcel.options.address is None},
        environment={**environment, "PSUP_RAY_ADDRESS": address},
        leave=leave,
    )


def _leave_nothing() -> None:
    """Let go of a cluster that goes on without us."""
