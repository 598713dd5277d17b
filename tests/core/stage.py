"""One tree, told what happens in a few words, answering in the words of `describe.py`.

Trees are written as text, one node per line, children indented by two spaces:

    p rest_for_one max_restarts=2 max_seconds=5
      data one_for_one temporary
        ingest
      serve service permanent grace=2 backoff=1*2<=8

Unlike the package's defaults, a delay here has no jitter, so that traces show round numbers.
"""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from supervisor.core import Step, boot, next_deadline, outstanding, restore, step
from supervisor.core.codec import encode_state
from supervisor.core.describe import describe_action, describe_phase, describe_state, describe_tree
from supervisor.core.events import (
    DrainRequested,
    Event,
    Exited,
    ExitKind,
    ExitReason,
    Ready,
    RestartRequested,
    Started,
    StartRequested,
    StopRequested,
    Tick,
    Unresponsive,
)
from supervisor.core.invariants import violations
from supervisor.core.spec import (
    Adjustments,
    AutoShutdown,
    Backoff,
    Body,
    Budget,
    Grow,
    Kind,
    NodeSpec,
    OnExit,
    Path,
    Quota,
    Restart,
    RestartRate,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.state import SegmentState, SupervisorState

COMPLETED = ExitReason(ExitKind.COMPLETED)
STOPPED = ExitReason(ExitKind.STOPPED)
CRASH = ExitReason(ExitKind.ERROR, "ValueError: no")
OOM = ExitReason(ExitKind.OOM)

STRATEGIES = {one.value for one in Strategy}
RESTARTS = {one.value for one in Restart}


# --------------------------------------------------------------------------------------- the words


def spec_of(text: str) -> SupervisorSpec:
    """Read a tree from its lines."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    root, rest = _read([line[indent:] for line in lines], 0, "")
    assert rest == []
    assert isinstance(root, SupervisorSpec)
    return root


def _read(lines: list[str], depth: int, above: Path) -> tuple[NodeSpec, list[str]]:
    name, *words = lines[0].split()
    path = f"{above}/{name}" if above else name
    lines = lines[1:]
    children: list[NodeSpec] = []
    while lines and _depth(lines[0]) > depth:
        child, lines = _read(lines, depth + 1, path)
        children.append(child)
    flags = {word for word in words if "=" not in word}
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    restart = next((Restart(word) for word in flags & RESTARTS), None)
    backoff = _backoff(keys.get("backoff", "1*2<=60"), float(keys.get("reset_after", "60")))
    if flags & STRATEGIES:
        node: NodeSpec = SupervisorSpec(
            name,
            tuple(children),
            strategy=next(Strategy(word) for word in flags & STRATEGIES),
            max_restarts=int(keys.get("max_restarts", "5")),
            max_seconds=float(keys.get("max_seconds", "60")),
            restart=restart or Restart.PERMANENT,
            backoff=backoff,
            auto_shutdown=AutoShutdown(keys.get("auto_shutdown", "never")),
            significant="significant" in flags,
            restart_rate=_rate(keys.get("rate")),
        )
        return node, lines
    time_s = keys.get("time")
    return SegmentSpec(
        name,
        kind=Kind.SERVICE if "service" in flags else Kind.TASK,
        restart=restart or Restart.TRANSIENT,
        after=tuple(keys["after"].split(",")) if "after" in keys else (),
        start_timeout_s=float(keys.get("start_timeout", "60")),
        backoff=backoff,
        budget=_budget(keys.get("budget")),
        never_on=frozenset(keys["never_on"].split(",")) if "never_on" in keys else frozenset(),
        shutdown=Shutdown(None if keys.get("grace") == "none" else float(keys.get("grace", "10"))),
        quota=Quota(
            time_s=None if time_s is None else float(time_s),
            memory_bytes=int(keys["memory"]) if "memory" in keys else None,
        ),
        body=Body(env=dict(_pairs(keys.get("env", "")))),
        on_exit=tuple(_on_exit(text) for text in keys.get("on_exit", "").split(";") if text),
        significant="significant" in flags,
    ), lines


def _rate(text: str | None) -> RestartRate | None:
    """`3/2`: three at once, then two a second."""
    if text is None:
        return None
    burst, _, per_second = text.partition("/")
    return RestartRate(int(burst), float(per_second))


def _pairs(text: str) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, _, value in (pair.partition(":") for pair in text.split(",") if pair)
    ]


def _on_exit(text: str) -> OnExit:
    """`oom/tries:2/memory:x1.5<=300/BATCH:half` or `exit[42]/give_up`."""
    cause, *words = text.split("/")
    pairs = [(name, value) for name, _, value in (word.partition(":") for word in words)]
    known = dict(pairs)
    factor, _, most = known.get("memory", "").removeprefix("x").partition("<=")
    return OnExit(
        cause,
        retries="give_up" not in words,
        tries=int(known["tries"]) if "tries" in known else None,
        grow=Grow("memory_bytes", float(factor), float(most) if most else None) if factor else None,
        env={name: value for name, value in pairs if name.isupper()},
    )


def _depth(line: str) -> int:
    return (len(line) - len(line.lstrip())) // 2


def _backoff(text: str, reset_after_s: float) -> Backoff:
    """`1` is always one second; `1*2<=8` is 1, 2, 4, 8, 8, ..."""
    first, _, rest = text.partition("*")
    factor, _, most = rest.partition("<=")
    return Backoff(
        float(first), float(factor or 1), float(most or first), 0.0, reset_after_s=reset_after_s
    )


def _budget(text: str | None) -> Budget | None:
    if text is None:
        return None
    restarts, _, seconds = text.partition("/")
    return Budget(int(restarts), float(seconds) if seconds else None)


def reason_of(text: str) -> ExitReason:
    """`oom`, `exit(78)`, `error(ValueError:no)`."""
    kind, _, detail = text.partition("(")
    return ExitReason(ExitKind(kind), detail.removesuffix(")"))


# ---------------------------------------------------------------------------------------- the types


def is_typed(value: Any) -> bool:
    """Does every field hold what its dataclass says?

    The core hardly asks when a phase began, or whether something is False rather than None; those
    who look at the tree do. So a wrong one would harm nobody here, and is looked for.
    """
    cls = type(value)
    if cls not in _HINTS:
        _HINTS[cls] = get_type_hints(cls)
    return all(_is_a(getattr(value, name), hint) for name, hint in _HINTS[cls].items())


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _is_a(value: Any, hint: Any) -> bool:
    kind = get_origin(hint) or hint
    if kind in {Union, UnionType}:
        return any(_is_a(value, one) for one in get_args(hint))
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind) and (not is_dataclass(kind) or is_typed(value))


# --------------------------------------------------------------------------------------- the stage


class Stage:
    """A tree, its present time, and verbs."""

    def __init__(self, text: str, *, strict: bool = True) -> None:
        self.spec = spec_of(text)
        self.now_s = 0.0
        self.last: Step = boot(self.spec, self.now_s, strict=strict)
        self.tree = self.last.tree

    @property
    def said(self) -> list[str]:
        """What the latest step ordered, reported and answered."""
        return [describe_action(action) for action in self.last.actions]

    @property
    def orders(self) -> list[str]:
        """What the latest step ordered."""
        return [line for line in self.said if not line.startswith(("report", "answer", "release"))]

    def path(self, name: str) -> Path:
        """A full path as it is; a last part stands for the only node called so."""
        if name in self.tree.nodes:
            return name
        (path,) = [path for path in self.tree.nodes if path.endswith(f"/{name}")]
        return path

    def tell(self, event: Event, at: float | None = None) -> list[str]:
        """Let something happen; the tree must be sound afterwards."""
        self.now_s = self.now_s if at is None else at
        self.last = step(self.tree, event, self.now_s)
        assert violations(self.tree) == []
        new = [self.tree.states[path] for path in self.last.changed if path in self.tree.nodes]
        assert [one for one in (*new, *self.last.actions) if not is_typed(one)] == []
        return self.orders

    def latest(self, name: str) -> int:
        return self.tree.states[self.path(name)].incarnation

    def started(self, name: str, at: float | None = None) -> list[str]:
        return self.tell(Started(self.path(name), self.latest(name), pid=7), at)

    def ready(self, *names: str, at: float | None = None) -> list[str]:
        for name in names:
            self.tell(Ready(self.path(name), self.latest(name)), at)
        return self.orders

    def exits(
        self,
        name: str,
        reason: ExitReason = CRASH,
        at: float | None = None,
        life: int | None = None,
    ) -> list[str]:
        number = self.latest(name) if life is None else life
        return self.tell(Exited(self.path(name), number, reason), at)

    def hangs(self, name: str, at: float | None = None) -> list[str]:
        return self.tell(Unresponsive(self.path(name), self.latest(name), "no watchdog"), at)

    def tick(self, at: float | None = None) -> list[str]:
        return self.tell(Tick(), at)

    def start(self, name: str, at: float | None = None) -> list[str]:
        return self.tell(StartRequested(self.path(name), request=1), at)

    def stop(self, name: str, at: float | None = None) -> list[str]:
        return self.tell(StopRequested(self.path(name), request=1), at)

    def restart(
        self, name: str, at: float | None = None, given: Adjustments | None = None
    ) -> list[str]:
        return self.tell(RestartRequested(self.path(name), 1, given), at)

    def drain(self, at: float | None = None) -> list[str]:
        return self.tell(DrainRequested(request=1), at)

    def all_up(self, at: float | None = None) -> Stage:
        """Answer every start with ready until there is none; returns itself."""
        self.now_s = self.now_s if at is None else at
        actions = list(self.last.actions)
        while actions:
            text = describe_action(actions.pop(0))
            if text.startswith("start "):
                path, _, number = text.split()[1].partition("#")
                self.tell(Ready(path, int(number)))
                actions += self.last.actions
        return self

    def reload(self) -> list[str]:
        """Our process dies and the next one reads what was saved; what it orders again."""
        saved = json.dumps({path: encode_state(one) for path, one in self.tree.states.items()})
        self.tree = restore(self.spec, json.loads(saved), strict=True)
        assert violations(self.tree) == []
        return [describe_action(action) for action in outstanding(self.tree)]

    def phase(self, name: str) -> str:
        return describe_phase(self.tree.states[self.path(name)].phase)

    def state(self, name: str) -> str:
        return describe_state(self.tree.states[self.path(name)])

    def segment(self, name: str) -> SegmentState:
        state = self.tree.states[self.path(name)]
        assert isinstance(state, SegmentState)
        return state

    def supervisor(self, name: str) -> SupervisorState:
        state = self.tree.states[self.path(name)]
        assert isinstance(state, SupervisorState)
        return state

    def phases(self) -> dict[str, str]:
        """Every segment's phase by the last part of its path."""
        return {
            path.rsplit("/", 1)[-1]: describe_phase(state.phase)
            for path, state in self.tree.states.items()
            if isinstance(state, SegmentState)
        }

    def next(self) -> float | None:
        return next_deadline(self.tree)

    def drawing(self) -> str:
        return describe_tree(self.tree)
