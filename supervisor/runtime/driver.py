"""The loop: take news, step the core, save, act, wait until something is due.

Its one promise is the order: **nothing is carried out that was not saved first**, and everything
saved is carried out, because `opening.py` issues again what was in flight. All news that has
gathered is stepped and saved together in one transaction, so that the next order does not wait for
a second disk write; what could not be saved is rolled back as if it had never been heard, and is
heard again. The driver decides nothing about segments and knows no product: only ports.
Read next: `recording.py` (what is saved), `executor.py` (how it acts), `daemon/service.py` (who
owns a driver).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from supervisor.core import Step, Tree, next_deadline, reconfigure, rollback, step
from supervisor.core.actions import Action, Answer, Halt, Kill, Report, ReportCode, Start
from supervisor.core.changes import LIVE_QUOTAS, Change, Effect, compare
from supervisor.core.codec import decode_adjustments, encode_state
from supervisor.core.events import (
    DrainRequested,
    Event,
    Exited,
    Ready,
    RestartRequested,
    StartRequested,
    StopRequested,
    Tick,
)
from supervisor.core.reconfigure import refuse_strangers
from supervisor.core.spec import Path, SupervisorSpec
from supervisor.core.state import Ending, SupervisorEnded, SupervisorState
from supervisor.core.tree import Segment
from supervisor.errors import (
    BackendUnavailable,
    LostOwnership,
    MemoryInUse,
    Refused,
    SpecError,
    StoreError,
)
from supervisor.runtime.executor import Executor, segments_of
from supervisor.runtime.inbox import Inbox, Knock, Lost, News
from supervisor.runtime.ports import (
    Blueprints,
    Clock,
    Commit,
    JournalEntry,
    Json,
    LifeRecord,
    Notice,
    PendingRequest,
    Store,
)
from supervisor.runtime.recording import (
    Fingerprint,
    journal_action,
    journal_changes,
    journal_event,
    life_begun,
    life_told,
    no_fingerprint,
    node_rows,
)

LOOK_EVERY_S = 1.0
"""How long a request waits when the ring of its bell was lost."""
SAMPLES_EVERY_S = 3.0
"""How long measurements gather before they are written."""
RETRY_SAVE_AFTER_S = (0.1, 0.3, 1.0, 2.0, 4.0)
"""Pauses between attempts to save; after the last the driver gives up, loudly."""
MOST_NEWS = 256
"""How much is stepped before it is saved, so that a flood cannot delay the first order for long."""

_FENCED = frozenset({ReportCode.STALE_EVENT, ReportCode.ILLEGAL_EVENT})
_log = logging.getLogger(__name__)


def _nothing() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Outside:
    """All that a driver touches besides its tree.

    Args:
        store, clock, executor: the ports, the backend behind the executor.
        inbox: where the backend's notices and the bell's rings arrive.
        on_saved: called after every save, to show progress; must not block.
        pause: waits between attempts to save; another one only in tests.
        blueprints: where changed specs come from and go to; without, no change is understood.
        fingerprint: see `recording.Fingerprint`.
        live_quotas: fields of `Quota` that this node can change while a body lives.
    """

    store: Store
    clock: Clock
    executor: Executor
    inbox: Inbox
    on_saved: Callable[[], None] = _nothing
    pause: Callable[[float], None] = time.sleep
    blueprints: Blueprints | None = None
    fingerprint: Fingerprint = no_fingerprint
    live_quotas: AbstractSet[str] = LIVE_QUOTAS


@dataclass(slots=True)
class _Turn:
    """What one turn has decided and not yet saved."""

    at_s: float
    steps: list[Step] = field(default_factory=list)
    changed: dict[Path, None] = field(default_factory=dict)
    journal: list[JournalEntry] = field(default_factory=list)
    lives: list[LifeRecord] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    reshaped: bool = False
    """The tree is another one than when the turn began."""
    executor: Executor | None = None
    """What carried out orders before the spec was changed."""

    def order(self, actions: Iterable[Action], executor: Executor) -> None:
        """Record what the core ordered."""
        for action in actions:
            self.actions.append(action)
            self.journal.append(journal_action(action))
            if isinstance(action, Start):
                log = executor.places.log(action.path, action.incarnation)
                self.lives.append(life_begun(action, self.at_s, log))

    def is_empty(self) -> bool:
        return not (self.journal or self.lives)

    def halt(self) -> Halt | None:
        """Return the last word, if this turn has spoken it."""
        return next((action for action in self.actions if isinstance(action, Halt)), None)


class Driver:
    """Drives one tree. All methods belong to one thread; news comes in through `inbox`.

    Args:
        tree: where everything stands, as it is in the store.
        outside: everything else.
    """

    def __init__(self, tree: Tree, outside: Outside) -> None:
        self.tree = tree
        self._store = outside.store
        self._executor = outside.executor
        self._clock = outside.clock
        self._inbox = outside.inbox
        self._on_saved = outside.on_saved
        self._pause = outside.pause
        self._changes = outside.blueprints
        self._fingerprint = outside.fingerprint
        self._live_quotas = outside.live_quotas
        self._news: list[News] = []
        self._pipeline_state = ""
        self._looked_s = float("-inf")
        self._flushed_s = self._clock.now_s()
        self._halt: Halt | None = None

    # -------------------------------------------------------------------------------- the loop

    def run(self, *, leave_when_failed: bool) -> Halt:
        """Drive until everything is down.

        Args:
            leave_when_failed: also return when the root gave up; otherwise a person can still
                look, ask why, and start it again.

        Raises:
            LostOwnership: another daemon owns the pipeline; nothing may be done any more.
            StoreError: the store stayed unusable.
            BackendUnavailable: nothing can be ordered any more.
        """
        halt = self._halt
        while True:
            if halt is not None and (leave_when_failed or not halt.failed):
                self._flush_samples()
                return halt
            self._inbox.wait(self._pause_s())
            halt = self._turn_patiently()

    def turn(self) -> Halt | None:
        """Do everything that is due now, and return without waiting for more.

        Raises:
            StoreError: nothing was saved, nothing was done, nothing was forgotten.
            BackendUnavailable: nothing can be ordered any more.
        """
        now_s = self._clock.now_s()
        self._news.extend(self._inbox.take(MOST_NEWS))
        self._check_backend()
        turn = _Turn(now_s)
        self._hear(turn, self._requests(now_s))
        if not turn.is_empty():
            self._save(turn)
        heard, self._news = self._news, []
        if not turn.is_empty():
            self._on_saved()
            self._act(turn.actions)
        self._acknowledge(heard)
        if now_s - self._flushed_s >= SAMPLES_EVERY_S:
            self._flush_samples()
        return turn.halt()

    def issue(self, actions: Sequence[Action]) -> None:
        """Save and carry out orders that no event caused: a boot's first, a restore's repeated."""
        turn = _Turn(self._clock.now_s())
        turn.order(actions, self._executor)
        self._save(turn)
        self._halt = turn.halt()
        self._on_saved()
        self._act(turn.actions)

    def _turn_patiently(self) -> Halt | None:
        for pause_s in RETRY_SAVE_AFTER_S:
            try:
                return self.turn()
            except LostOwnership:
                raise
            except StoreError as error:
                _log.warning("the store cannot be written (%s); trying again", error)
                self._pause(pause_s)
        return self.turn()

    def _pause_s(self) -> float:
        """Return how long there is nothing to do, if nobody brings news."""
        deadline_s = next_deadline(self.tree)
        if deadline_s is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, deadline_s - self._clock.now_s())

    # ------------------------------------------------------------------------------- listening

    def _requests(self, now_s: float) -> Sequence[PendingRequest]:
        """Return what persons ask for; the step that hears a request also answers it."""
        if Knock.LOOK not in self._news and now_s - self._looked_s < LOOK_EVERY_S:
            return ()
        self._looked_s = now_s
        return self._store.pending_requests()

    def _check_backend(self) -> None:
        """Hear of a lost backend before all else: what it said last was said by a dying one."""
        for news in self._news:
            if isinstance(news, Lost):
                raise BackendUnavailable(news.text)

    def _hear(self, turn: _Turn, requests: Sequence[PendingRequest]) -> None:
        """Step through all news, then through the requests, then through what is due."""
        for news in self._news:
            match news:
                case Notice():
                    self._hear_notice(turn, news)
                case DrainRequested():
                    self._step(turn, news)
                case Knock.HURRY:
                    kills = [Kill(path, number) for path, number in living(self.tree).items()]
                    turn.order(kills, self._executor)
                case Knock.LOOK | Lost():
                    pass  # heard already
        for request in requests:
            self._hear_request(turn, request)
        deadline_s = next_deadline(self.tree)
        if deadline_s is not None and deadline_s <= turn.at_s:
            self._step(turn, Tick())

    def _step(self, turn: _Turn, event: Event) -> Step:
        taken = step(self.tree, event, turn.at_s)
        turn.journal.append(journal_event(event))
        self._take(turn, taken)
        return taken

    def _take(self, turn: _Turn, taken: Step) -> None:
        turn.steps.append(taken)
        turn.changed.update(dict.fromkeys(taken.changed))
        turn.reshaped |= taken.previous is not None
        self.tree = taken.tree
        turn.order(taken.actions, self._executor)

    def _hear_change(self, turn: _Turn, request: PendingRequest, blueprints: Blueprints) -> None:
        """Change the spec as a person asks, or refuse and change nothing."""
        try:
            spec = blueprints.wanted(request, self.tree.declared)
            refuse_strangers(self.tree.root.path, spec)
            changes = compare(self.tree.declared, spec, self.tree.states, self._live_quotas)
            self._refuse_less_than_used(changes)
            taken = reconfigure(
                self.tree,
                spec,
                turn.at_s,
                incarnations=self._numbers_of_newcomers(spec),
                live_quotas=self._live_quotas,
                request=request.id,
            )
            standing = taken.tree.root.spec
            segments = blueprints.segments(standing)
        except (SpecError, Refused) as error:
            answer = Answer(request.id, ok=False, code=error.code, text=error.message)
            turn.order([answer], self._executor)
            return
        turn.info.update(blueprints.keep(spec, standing))
        turn.journal.append(journal_changes(request.path, changes))
        turn.executor = turn.executor or self._executor
        self._executor = self._executor.with_segments(segments)
        self._take(turn, taken)

    def _numbers_of_newcomers(self, spec: SupervisorSpec) -> dict[Path, int]:
        """Return the highest number ever used for every segment that is not in the tree yet."""
        return {
            path: self._store.last_incarnation(path)
            for path, _ in segments_of(spec)
            if path not in self.tree.nodes
        }

    def _refuse_less_than_used(self, changes: Sequence[Change]) -> None:
        """Refuse to take away memory that a body uses now: the kernel would end it."""
        for change in changes:
            node = self.tree.nodes.get(change.path)
            if not isinstance(node, Segment) or not node.lives:
                continue
            limits = [
                one.new
                for one in change.fields
                if one.name == "quota.memory_bytes" and one.effect is Effect.LIVE
            ]
            used = self._inbox.newest_sample(change.path, node.state.incarnation)
            in_use = 0 if used is None else used.memory_bytes or 0
            if any(limit is not None and limit < in_use for limit in limits):
                raise MemoryInUse(
                    f"{change.path} uses {in_use / 2**20:.0f} MiB of memory now, more than the"
                    f" {limits[0] / 2**20:.0f} MiB that it would be left; ask for more"
                )

    def _hear_notice(self, turn: _Turn, notice: Notice) -> None:
        event = notice.event
        if event is None:
            return  # a measurement, and those went another way
        taken = self._step(turn, event)
        if any(isinstance(action, Report) and action.code in _FENCED for action in taken.actions):
            return  # what is known of a past life is not overwritten by a late echo of it
        if isinstance(event, Ready) and notice.path not in taken.changed:
            return  # adoption says it again; the first time counts
        # A node that has just left the tree is still in the one before.
        state = (taken.previous or taken.tree).states[notice.path]
        last_exit = state.last_exit if isinstance(event, Exited) else None
        told = life_told(notice, turn.at_s, last_exit)
        if told is not None:
            turn.lives.append(told)

    def _hear_request(self, turn: _Turn, request: PendingRequest) -> None:
        match request.verb:
            case "start":
                self._step(turn, StartRequested(request.path, request.id))
            case "stop":
                self._step(turn, StopRequested(request.path, request.id))
            case "restart":
                given = decode_adjustments(request.args.get("adjustments"))
                self._step(turn, RestartRequested(request.path, request.id, given))
            case "down":
                self._step(turn, DrainRequested(request.id))
            case "apply" | "set" | "scale" if self._changes is not None:
                self._hear_change(turn, request, self._changes)
            case unknown:
                text = f"this daemon does not know how to {unknown!r}"
                turn.order(
                    [Answer(request.id, ok=False, code="unknown_verb", text=text)], self._executor
                )

    # -------------------------------------------------------------------------- saving, acting

    def _save(self, turn: _Turn) -> None:
        """Write the turn in one transaction, or undo it."""
        state = pipeline_state(self.tree.root.state)
        commit = Commit(
            at_s=turn.at_s,
            nodes={} if turn.reshaped else self._changed_states(turn),
            rows=list(node_rows(self.tree, self._fingerprint)) if turn.reshaped else None,
            info=turn.info or None,
            journal=turn.journal,
            lives=turn.lives,
            answers=[action for action in turn.actions if isinstance(action, Answer)],
            pipeline_state=state if state != self._pipeline_state else None,
        )
        try:
            self._store.save(commit)
        except StoreError:
            for taken in reversed(turn.steps):
                self.tree = rollback(self.tree, taken)
            self._executor = turn.executor or self._executor
            raise
        self._pipeline_state = state

    def _changed_states(self, turn: _Turn) -> dict[Path, Json]:
        return {path: encode_state(self.tree.states[path]) for path in turn.changed}

    def _act(self, actions: Sequence[Action]) -> None:
        for failure in self._executor.execute(actions):
            self._inbox.tell(failure)

    def _acknowledge(self, heard: Iterable[News]) -> None:
        """Let the backend forget what is in the store now."""
        for news in heard:
            if isinstance(news, Notice) and news.token:
                self._executor.backend.saved(news.path, news.token)

    def _flush_samples(self) -> None:
        self._flushed_s = self._clock.now_s()
        samples = self._inbox.take_samples()
        if not samples:
            return
        try:
            self._store.add_samples(samples)
        except LostOwnership:
            raise
        except StoreError as error:
            _log.warning("%d measurements were lost: %s", len(samples), error)


def pipeline_state(root: SupervisorState) -> str:
    """Return the word for the whole pipeline; `down` is written only when nothing is left of it."""
    ended = isinstance(root.phase, SupervisorEnded) and root.phase.how is Ending.GAVE_UP
    return "failed" if root.failed or ended else "up"


def living(tree: Tree) -> dict[Path, int]:
    """Return the current life of every segment that has one."""
    return {
        path: node.state.incarnation
        for path, node in tree.nodes.items()
        if isinstance(node, Segment) and node.lives
    }
