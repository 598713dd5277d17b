"""Carries the core's orders to the backend; what cannot be carried out becomes news.

Decides nothing. An order that fails concerns one segment and must never take the loop down with it:
a Start that raised is a life that ended at once, any other order is repeated by the core's own
deadlines. The one exception is `BackendUnavailable`: no order can succeed any more, so it goes
through to the driver. Read next: `driver.py` (who calls this), `ports.py` (what is promised).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from supervisor.core.actions import (
    Action,
    Adjust,
    Adopt,
    Answer,
    Halt,
    Kill,
    Release,
    Report,
    Start,
    Stop,
)
from supervisor.core.causes import adjusted
from supervisor.core.events import Exited, ExitKind, ExitReason, LifeEvent
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.errors import BackendUnavailable
from supervisor.runtime.ports import Backend, StartOrder

_log = logging.getLogger(__name__)


def segments_of(spec: SupervisorSpec) -> Iterator[tuple[Path, SegmentSpec]]:
    """Yield every segment with its path, in start order.

    >>> inner = SupervisorSpec("training", (SegmentSpec("train"),))
    >>> [path for path, _ in segments_of(SupervisorSpec("digits", (SegmentSpec("serve"), inner)))]
    ['digits/serve', 'digits/training/train']
    """
    todo: list[tuple[Path, SegmentSpec | SupervisorSpec]] = [(spec.name, spec)]
    while todo:
        path, node = todo.pop()
        if isinstance(node, SegmentSpec):
            yield path, node
        else:
            todo.extend((f"{path}/{child.name}", child) for child in reversed(node.children))


def for_peers(segments: Mapping[Path, SegmentSpec]) -> dict[str, int]:
    """Return every port as "segment name/port name", as bodies are told of each other's.

    Of two segments of the same name the first in the file is meant: a body that must reach the
    other one gets its number as a parameter.
    """
    peers: dict[str, int] = {}
    for path, segment in segments.items():
        for name, port in segment.body.ports.items():
            above, _, last = path.rpartition("/")
            if last.isdecimal():  # an instance: the first stands for its template
                template = above.rpartition("/")[2]
                peers.setdefault(f"{template}-{last}/{name}", port)
                last = template
            peers.setdefault(f"{last}/{name}", port)
    return peers


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of segments and their lives lie.

    Args:
        folder: gives the folder of a segment.

    >>> places = Places(lambda path: f"/home/ann/.psup/pipelines/digits/segments/{path}")
    >>> places.log("train", 3)
    '/home/ann/.psup/pipelines/digits/segments/train/logs/3.log'
    """

    folder: Callable[[Path], object]

    def log(self, path: Path, incarnation: int) -> str:
        """Return the file that the output of one life is appended to."""
        return f"{self.folder(path)}/logs/{incarnation}.log"

    def scratch(self, path: Path, incarnation: int) -> str:
        """Return the folder that lives as long as one life."""
        return f"{self.folder(path)}/scratch/{incarnation}"

    def checkpoint(self, path: Path) -> str:
        """Return the folder that outlives restarts."""
        return f"{self.folder(path)}/checkpoint"


@dataclass(frozen=True, slots=True)
class Executor:
    """Turns actions into calls of a backend.

    Args:
        backend: who runs the bodies.
        segments: every segment, with its ports already resolved to numbers.
        places: where the segments' files lie.
        environment: the launching terminal's.
        service_ports: "segment name/port name" -> number, for every body to find its peers.
    """

    backend: Backend
    segments: Mapping[Path, SegmentSpec]
    places: Places
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    service_ports: Mapping[str, int] = field(default_factory=dict)

    def execute(self, actions: Sequence[Action]) -> list[LifeEvent]:
        """Carry out orders in order; return what their failures mean to the core.

        Raises:
            BackendUnavailable: nothing can be ordered any more; the rest was not tried.
        """
        failures: list[LifeEvent] = []
        for action in actions:
            try:
                self._carry_out(action)
            except BackendUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one segment's trouble stays its own
                _log.exception("%s failed", action)
                if isinstance(action, Start):
                    reason = ExitReason(ExitKind.ERROR, f"{type(error).__name__}: {error}")
                    failures.append(Exited(action.path, action.incarnation, reason))
        return failures

    def with_segments(self, segments: Mapping[Path, SegmentSpec]) -> Executor:
        """Return an executor for another spec of the same pipeline."""
        return replace(self, segments=segments, service_ports=for_peers(segments))

    def prepare(self) -> None:
        """Tell the backend what will be started soon."""
        self.backend.prepare(list(self.segments.items()))

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start():
                self.backend.start(self._order(action))
            case Adopt(path, incarnation):
                self.backend.adopt(path, incarnation, self.segments[path])
            case Adjust(path, incarnation, given):
                self.backend.adjust(path, incarnation, adjusted(self.segments[path], given))
            case Stop(path, incarnation):
                self.backend.stop(path, incarnation)
            case Kill(path, incarnation):
                self.backend.kill(path, incarnation)
            case Release(path):
                self.backend.release(path)
            case Report() | Answer() | Halt():
                pass  # facts: recorded with the step that made them
            case _:
                assert_never(action)

    def _order(self, start: Start) -> StartOrder:
        path, incarnation = start.path, start.incarnation
        return StartOrder(
            path=path,
            incarnation=incarnation,
            spec=adjusted(self.segments[path], start.adjustments),
            attempt=start.attempt,
            last_exit=start.last_exit,
            environment=self.environment,
            scratch=self.places.scratch(path, incarnation),
            checkpoint=self.places.checkpoint(path),
            log=self.places.log(path, incarnation),
            service_ports=self.service_ports,
        )
