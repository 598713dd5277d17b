"""All cells of one pipeline, seen from the daemon: `ports.Backend` over actors of any kind.

One actor per segment, named `<path>~<random>`. It is watched by a method call that stays pending in
it: its answer is news, its failure is the cell's death, and whoever runs the actors tells us of
either at once, without a thread or a poll of ours. Decides nothing about segments.

All state belongs to one thread (`errands.py`), which takes what callers ask and what actors answer
in order; so no method blocks its caller and nothing needs a lock. A name is never used twice: Ray
may hold on to the name of a dead actor. Read next: `cell.py` (what runs in an actor),
`adapters/ray_backend.py` (actors that are Ray's), `runtime/ports.py` (what is promised).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from supervisor.cell.errands import Errand, Errands
from supervisor.cell.order import order_to_json
from supervisor.core.codec import decode_event, encode_spec
from supervisor.core.events import Exited, ExitKind, ExitReason, LifeEvent
from supervisor.core.spec import Path, SegmentSpec
from supervisor.runtime.ports import Json, Notice, StartOrder

CLEAR_LIMIT_S = 10.0
"""How long the end of a lost life may wait for its leftovers to be gone."""
SWEEP_LIMIT_S = 20.0
"""How long orders may wait for a sweep."""
GONE_LIMIT_S = 3.0
"""How long to wait for the process of a killed cell before leaving."""
WARM_AFTER_S = 1.0
"""How long bodies have the machine for themselves before the next cell is prepared for."""
ANSWER_LIMIT_S = 10.0
"""How long a cell may take for an answer before it counts as stuck and is killed."""

_log = logging.getLogger(__name__)


class Actor(Protocol):
    """A cell in a process of its own, perhaps on another machine."""

    @property
    def described(self) -> Future[Json]:
        """What `Cell.describe` answered when the actor came up, or was found."""

    def call(self, method: str, *values: Any) -> Future[Any]:
        """Call a method of the cell; the future fails when the cell dies before it answers."""

    def kill(self) -> None:
        """End the cell's process; harmless when it is gone."""

    def wait_until_gone(self, limit_s: float) -> None:
        """Wait for the process of a killed cell, as far as it can be seen from here."""


class Actors(Protocol):
    """Whatever runs cells. No method waits for a cell."""

    def make(self, path: Path, name: str, gpus: float) -> Actor:
        """Begin to make a cell; what is called meanwhile is answered when it is up."""

    def names(self) -> Sequence[str]:
        """Return the names of this pipeline's living cells."""

    def find(self, name: str) -> Actor | None:
        """Return a living cell by its name."""

    def is_death(self, problem: BaseException) -> bool:
        """Tell the death of the cell from an error that one of its methods raised."""

    def keep_warm(self) -> None:
        """See to it that the next cell comes up fast."""

    def sweep(self, keep: Mapping[Path, int]) -> Sequence[Future[Sequence[str]]]:
        """Begin, on every node, what `Limiter.sweep` does there."""

    def leave(self) -> None:
        """Let go of everything; cells that live go on without us."""


@dataclass(slots=True, eq=False)
class _Cell:
    """One actor.

    Args:
        name: its name in Ray.
        actor: its handle.
        first_token: what to add to the cell's own numbers, so that tokens of a path only grow.
        heard: the cell's number of the last notice that we took.
        up: whether it has ever answered.
        killing: whether a kill was ordered that it has not answered.
    """

    name: str
    actor: Actor
    first_token: int
    heard: int = 0
    up: bool = False
    killing: bool = False


@dataclass(slots=True, eq=False)
class _Slot:
    """One path: its cell, and the life whose end we owe.

    Args:
        life: incarnation that was ordered and has not ended; 0 for none.
        ended: highest incarnation whose end was told.
        token: highest token handed out.
        waiting: orders that came while the cell of an adopted life is looked for; None otherwise.
    """

    path: Path
    cell: _Cell | None = None
    spec: SegmentSpec | None = None
    life: int = 0
    ended: int = 0
    token: int = 0
    waiting: list[Errand] | None = None


class Fleet:
    """`ports.Backend` over actors.

    Args:
        actors: where the cells of this pipeline run; nobody else makes any for it.
    """

    def __init__(self, actors: Actors) -> None:
        self._actors = actors
        self._receive: Callable[[Notice], None] = _nobody_listens
        self._slots: dict[Path, _Slot] = {}
        self._coming_up: set[str] = set()
        self._gate: _Gate | None = None
        self._errands = Errands("psup-fleet")

    # ------------------------------------------------------------------------------- the port

    def listen(self, receive: Callable[[Notice], None]) -> None:
        """Name the receiver; it is called from this backend's thread and must not block."""
        self._receive = receive

    def prepare(self, orders: Sequence[tuple[Path, SegmentSpec]]) -> None:
        """Make the cells that are missing; they come up side by side."""
        self._errands.soon(partial(self._prepare, list(orders)))

    def start(self, order: StartOrder) -> None:
        """Begin a life in the path's cell, which is made if need be."""
        self._order(partial(self._start, order))

    def adopt(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        """Look for the cell of the path by name and go on watching it."""
        self._order(partial(self._adopt, path, incarnation, spec))

    def adjust(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        """Pass the new limits on; a cell that is still to come gets them when it is there."""
        self._order(partial(self._adjust, path, incarnation, spec))

    def stop(self, path: Path, incarnation: int) -> None:
        """Pass the stop signal on."""
        self._order(partial(self._stop, path, incarnation))

    def kill(self, path: Path, incarnation: int) -> None:
        """Pass the kill on; a cell that did not even answer the one before is killed itself."""
        self._order(partial(self._kill, path, incarnation))

    def release(self, path: Path) -> None:
        """Close the cell of a path that rests."""
        self._order(partial(self._release, path))

    def saved(self, path: Path, token: int) -> None:
        """Let the cell forget."""
        self._errands.soon(partial(self._saved, path, token))

    def sweep(self, keep: Mapping[Path, int]) -> None:
        """Remove what belongs to nobody; orders given meanwhile wait until that is done."""
        self._errands.soon(partial(self._sweep, dict(keep)))

    def close(self, *, stop_cells: bool) -> None:
        """Let go of the actors; blocks until they are gone if they are to be stopped."""
        self._errands.finish(partial(self._close, stop_cells=stop_cells))

    # -------------------------------------------------------------------------- asking, waiting

    def _order(self, task: Errand) -> None:
        """Have an order carried out, after a sweep that is under way."""
        self._errands.soon(partial(self._when_swept, task))

    def _when_swept(self, task: Errand) -> None:
        if self._gate is None:
            task()
        else:
            self._gate.waiting.append(task)

    def _call(
        self,
        cell: _Cell,
        method: str,
        *values: Any,
        then: Callable[[Future[Any]], None] | None = None,
    ) -> None:
        """Call a method of the cell without waiting; `then` gets the finished future."""
        answer = cell.actor.call(method, *values)
        if then is not None:
            self._errands.when(answer, then)

    def _slot(self, path: Path) -> _Slot:
        return self._slots.setdefault(path, _Slot(path))

    # ----------------------------------------------------------------------------------- cells

    def _make_cell(self, slot: _Slot) -> _Cell:
        """Ask for a new actor and begin to watch it; it comes up by itself."""
        name = f"{slot.path}~{secrets.token_hex(3)}"
        gpus = slot.spec.quota.gpus if slot.spec is not None else None
        actor = self._actors.make(slot.path, name, gpus or 0)
        cell = slot.cell = _Cell(name, actor, first_token=slot.token)
        self._coming_up.add(name)
        self._errands.when(actor.described, partial(self._came_up, cell))
        self._watch(slot, cell)
        return cell

    def _came_up(self, cell: _Cell, answer: Future[Json]) -> None:
        cell.up = cell.up or answer.exception() is None
        self._settled(cell.name)

    def _settled(self, name: str) -> None:
        """When the last of several new cells is up, prepare for the next; bodies go first."""
        self._coming_up.discard(name)
        if not self._coming_up:
            self._errands.later(WARM_AFTER_S, self._keep_warm)

    def _keep_warm(self) -> None:
        if not self._coming_up:
            self._actors.keep_warm()

    def _watch(self, slot: _Slot, cell: _Cell) -> None:
        self._call(cell, "watch", cell.heard, then=partial(self._heard, slot, cell))

    def _heard(self, slot: _Slot, cell: _Cell, answer: Future[list[dict[str, Any]]]) -> None:
        """Take news from a cell, or the news that there is none any more."""
        if slot.cell is not cell:
            return
        problem = answer.exception()
        if problem is not None:
            self._cell_died(slot, cell, problem)
            return
        notices = answer.result()
        for notice in notices:
            cell.up = True
            self._deliver(slot, cell, notice)
        if notices:  # nothing: another daemon watches now, or the cell has closed
            cell.heard = notices[-1]["n"]
            self._watch(slot, cell)

    def _deliver(self, slot: _Slot, cell: _Cell, notice: Json) -> None:
        data, number = notice["event"], notice["incarnation"]
        if data is None:
            self._receive(Notice(None, slot.path, number, notice["evidence"]))
            return
        event = decode_event(data)
        assert isinstance(event, LifeEvent), "cells speak of lives only"
        slot.token = cell.first_token + notice["n"]
        if isinstance(event, Exited):
            slot.ended = max(slot.ended, number)
            if slot.life == number:
                slot.life = 0
        self._receive(Notice(event, slot.path, number, notice["evidence"], slot.token))

    def _cell_died(self, slot: _Slot, cell: _Cell, problem: BaseException) -> None:
        """Make a new cell at once, let it end what is left of the life, and tell of its end."""
        cell.actor.kill()  # it may have told us itself that it is broken
        slot.cell = None
        self._coming_up.discard(cell.name)
        if not slot.life:
            return
        evidence = {"cell": "died" if cell.up else "not started", "error": _first_line(problem)}
        end = partial(self._end, slot, slot.life, evidence)
        if not cell.up:  # a next one would fare no better, and there is nothing to clear away
            end()
            return
        # The body died with its cell; its children may not have. Whether the segment starts again
        # is not ours to say, but if it does, its cell is there already.
        self._errands.later(CLEAR_LIMIT_S, end)
        self._call(self._make_cell(slot), "clear", then=lambda _answer: end())

    def _end(self, slot: _Slot, incarnation: int, evidence: Json) -> None:
        """Tell the end of a life that no cell can tell of; once."""
        if slot.life == incarnation:
            slot.life, slot.ended, slot.waiting = 0, max(slot.ended, incarnation), None
            event = Exited(slot.path, incarnation, ExitReason(ExitKind.NODE_LOST))
            self._receive(Notice(event, slot.path, incarnation, evidence))

    # ---------------------------------------------------------------------------------- orders

    def _prepare(self, orders: Sequence[tuple[Path, SegmentSpec]]) -> None:
        for path, spec in orders:
            slot = self._slot(path)
            slot.spec = spec
            if slot.cell is None:
                self._make_cell(slot)

    def _start(self, order: StartOrder) -> None:
        never_seen = order.path not in self._slots
        slot = self._slot(order.path)
        if order.incarnation <= max(slot.life, slot.ended):
            return
        slot.spec, slot.life = order.spec, order.incarnation
        begin = partial(self._begin, slot, order)
        if never_seen:  # a daemon before this one may have given the same order
            slot.waiting = []
            self._try_cells(slot, self._names_of(order.path), begin)
        else:
            begin()

    def _begin(self, slot: _Slot, order: StartOrder) -> None:
        waiting, slot.waiting = slot.waiting or [], None
        begun = partial(self._start_answered, slot, order.incarnation)
        try:
            cell = slot.cell or self._make_cell(slot)
            self._call(cell, "start", order_to_json(order), then=begun)
        except Exception as problem:  # noqa: BLE001  whatever was raised, this life is over
            evidence = {"cell": "not created", "error": _first_line(problem)}
            self._end(slot, order.incarnation, evidence)
        for errand in waiting:
            errand()

    def _start_answered(self, slot: _Slot, incarnation: int, answer: Future[None]) -> None:
        """End a life that its cell refused to begin; the death of the cell is told by its watch."""
        problem = answer.exception()
        if problem is not None and not self._actors.is_death(problem):
            self._end(slot, incarnation, {"cell": "refused", "error": _first_line(problem)})

    def _adjust(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        slot = self._slot(path)
        slot.spec = spec
        if slot.waiting is not None:
            slot.waiting.append(partial(self._adjust, path, incarnation, spec))
        elif slot.life == incarnation and slot.cell is not None:
            self._call(slot.cell, "adjust", incarnation, encode_spec(spec, secrets=False))

    def _stop(self, path: Path, incarnation: int) -> None:
        slot = self._slot(path)
        if slot.waiting is not None:
            slot.waiting.append(partial(self._stop, path, incarnation))
        elif slot.life == incarnation and slot.cell is not None and slot.spec is not None:
            self._call(slot.cell, "stop", incarnation, slot.spec.shutdown.signal)

    def _kill(self, path: Path, incarnation: int) -> None:
        slot = self._slot(path)
        cell = slot.cell
        if slot.waiting is not None:
            slot.waiting.append(partial(self._kill, path, incarnation))
        if slot.life != incarnation or cell is None:
            return
        if cell.killing:
            _log.warning("the cell %s does not answer; killing it", cell.name)
            cell.actor.kill()  # its watch fails, and that ends the life
            return
        cell.killing = True
        self._call(cell, "kill", incarnation, then=partial(self._kill_answered, cell))

    def _kill_answered(self, cell: _Cell, _answer: Future[None]) -> None:
        cell.killing = False

    def _release(self, path: Path) -> None:
        slot = self._slot(path)
        if slot.cell is not None and not slot.life:
            self._give_back(slot.cell, _nothing_more)
            slot.cell = None

    def _saved(self, path: Path, token: int) -> None:
        cell = self._slot(path).cell
        if cell is not None and token > cell.first_token:
            self._call(cell, "saved", token - cell.first_token)

    def _give_back(self, cell: _Cell, then: Errand) -> None:
        """Close a cell, its body included, and end the actor, which may be stuck."""
        self._coming_up.discard(cell.name)

        def end() -> None:
            cell.actor.kill()
            then()

        over = _Once(end)
        self._call(cell, "close", then=lambda _answer: over())
        self._errands.later(ANSWER_LIMIT_S, over)

    # -------------------------------------------------------------------------------- adoption

    def _adopt(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        slot = self._slot(path)
        if incarnation <= max(slot.life, slot.ended):
            return
        slot.spec, slot.life, slot.waiting = spec, incarnation, []
        lost = partial(self._end, slot, incarnation, {"cell": "not found"})
        self._try_cells(slot, self._names_of(path), lost)

    def _names_of(self, path: Path) -> list[str]:
        return [name for name in self._actors.names() if _path_of(name) == path]

    def _try_cells(self, slot: _Slot, names: Sequence[str], otherwise: Errand) -> None:
        """Ask the first of these cells which life it holds; do something else when none has it."""
        if not names:
            otherwise()
            return
        cell = self._find(names[0], slot)
        if cell is None:
            self._try_cells(slot, names[1:], otherwise)
            return
        others = partial(self._try_cells, slot, names[1:], otherwise)
        described = partial(self._described, slot, cell, names[1:], others)
        self._errands.when(cell.actor.described, described)
        self._errands.later(ANSWER_LIMIT_S, partial(self._kill_if_silent, cell))

    def _described(
        self,
        slot: _Slot,
        cell: _Cell,
        others: Sequence[str],
        try_others: Errand,
        answer: Future[Json],
    ) -> None:
        """Watch the cell that holds the life; one that holds another life is closed with it."""
        cell.up = True
        if answer.exception() is not None:
            try_others()
        elif answer.result()["incarnation"] == slot.life:
            slot.cell = cell
            self._watch(slot, cell)
            for name in others:
                self._discard(name, _nothing_more)
            self._settled(cell.name)
            waiting, slot.waiting = slot.waiting or [], None
            for errand in waiting:
                errand()
        else:
            self._give_back(cell, try_others)

    def _kill_if_silent(self, cell: _Cell) -> None:
        if not cell.up:
            cell.actor.kill()

    def _find(self, name: str, slot: _Slot) -> _Cell | None:
        actor = self._actors.find(name)
        return None if actor is None else _Cell(name, actor, first_token=slot.token)

    def _discard(self, name: str, then: Errand) -> None:
        """Close a cell that nobody wants, known by its name only."""
        cell = self._find(name, _Slot(_path_of(name)))
        if cell is None:
            then()
        else:
            self._give_back(cell, then)

    # ----------------------------------------------------------------------- sweeping, closing

    def _sweep(self, keep: Mapping[Path, int]) -> None:
        """Close cells whose path is not kept and sweep every node; hold orders back meanwhile."""
        gate = self._gate = self._gate or _Gate()
        for slot in self._slots.values():
            if slot.cell is not None and slot.path not in keep and not slot.life:
                slot.cell = None
        for name in self._actors.names():
            if _path_of(name) not in keep:
                self._discard(name, gate.expect(partial(self._open, gate)))
        for answer in self._actors.sweep(keep):
            self._errands.when(answer, partial(self._swept, gate.expect(partial(self._open, gate))))
        self._errands.later(SWEEP_LIMIT_S, partial(self._open, gate, in_time=False))

    def _swept(self, step: Errand, answer: Future[Sequence[str]]) -> None:
        problem = answer.exception()
        if problem is not None:
            _log.warning("a node could not be swept: %s", _first_line(problem))
        elif answer.result():
            _log.info("removed what dead cells left: %s", ", ".join(answer.result()))
        step()

    def _open(self, gate: _Gate, *, in_time: bool = True) -> None:
        """Let the orders through that waited for a sweep."""
        if self._gate is not gate or (in_time and gate.expected):
            return
        if not in_time:
            _log.warning("the sweep is not done after %.0f s; going on", SWEEP_LIMIT_S)
        self._gate = None
        for task in gate.waiting:
            task()

    def _close(self, *, stop_cells: bool) -> None:
        """Let go of the actors; nothing is heard any more."""
        self._receive = _nobody_listens
        try:
            if stop_cells:
                self._stop_cells()
        finally:
            self._actors.leave()

    def _stop_cells(self) -> None:
        """Close every cell, end its actor, then sweep; waits, for nothing else is left to do."""
        found = [self._actors.find(name) for name in self._actors.names()]
        actors = [actor for actor in found if actor is not None]
        wait([actor.call("close") for actor in actors], timeout=ANSWER_LIMIT_S)
        for actor in actors:
            actor.kill()
        for answer in wait(self._actors.sweep({}), timeout=SWEEP_LIMIT_S).done:
            self._swept(_nothing_more, answer)
        for actor in actors:
            actor.wait_until_gone(GONE_LIMIT_S)


class _Once:
    """A call that takes place at most once."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class _Gate:
    """Orders that wait until everything expected has happened."""

    def __init__(self) -> None:
        self.waiting: list[Errand] = []
        self.expected = 0

    def expect(self, then: Errand) -> Errand:
        """Count one more thing to wait for; return what says that it has happened."""
        self.expected += 1

        def happened() -> None:
            self.expected -= 1
            then()

        return _Once(happened)


def _path_of(name: str) -> Path:
    """Return the path of an actor.

    >>> _path_of("digits/training/train~a1b2c3")
    'digits/training/train'
    """
    return name.rpartition("~")[0]


def _first_line(problem: BaseException) -> str:
    """Return the type of an error and the first line of what it says."""
    said = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {said[0]}" if said else type(problem).__name__


def _nothing_more() -> None:
    """Follow something that nothing follows."""


def _nobody_listens(notice: Notice) -> None:
    """Take the place of a receiver before `listen` and after `close`."""
    _log.debug("nobody listens to %s", notice)
