"""A running pipeline gets another spec: the least that makes the tree what the spec says.

`compare` says what is different and what each difference does; here it is done. The tree is not
changed in place: a new one is made, every node that stays brings its state along, and the step
says which tree it came from, so that one that could not be saved never was. A person's stops stay,
and so does the history of restarts, as in OTP's `code_change` (docs/semantics.md, section 14).

While a change is under way the tree holds more than the spec: nodes that leave are stopped one
after the other, the last in start order first, and new nodes start one after the other, in order.
When all of them are done, the tree is what was declared and nothing is left of the change. So a
change needs no memory of its own: `Tree.leaving` follows from the two specs, and `Tree.joining`
from the states. Read next: `changes.py` (what is different), `couplings.py` (turns and stops).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from supervisor.core.actions import Action, Adjust, Answer
from supervisor.core.causes import adjusted, adjustments_of
from supervisor.core.changes import LIVE_QUOTAS, Change, Effect, compare
from supervisor.core.couplings import has_had_its_turn, is_due, offer_turn, settle, tell
from supervisor.core.draft import Draft, Step
from supervisor.core.events import RestartRequested
from supervisor.core.requests import start_node, stop_node, want
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.core.state import (
    BackingOff,
    BringingUp,
    GoingDown,
    Phase,
    Recycling,
    Running,
    Starting,
    Stopping,
    SupervisorBackingOff,
    SupervisorPhase,
    Waiting,
)
from supervisor.core.transitions import TurnCame
from supervisor.core.tree import Node, Segment, Supervisor, Tree, could_begin, is_below, lets_begin
from supervisor.errors import AnotherPipeline, NodeChangedKind

_NONE: Mapping[Path, int] = {}


def reconfigure(  # noqa: PLR0913 - keyword only; each is a fact with a name
    tree: Tree,
    spec: SupervisorSpec,
    now_s: float,
    *,
    incarnations: Mapping[Path, int] = _NONE,
    live_quotas: AbstractSet[str] = LIVE_QUOTAS,
    request: int = 0,
) -> Step:
    """Make the tree what another spec of the same pipeline says.

    Args:
        tree: as it is; it stays as it is, the step brings a new one.
        spec: what is declared from now on.
        now_s: as in every step.
        incarnations: the highest number ever used for a path that may be new.
        live_quotas: see `compare`.
        request: who waits for an answer; 0 for nobody.

    Raises:
        AnotherPipeline: the spec is that of a pipeline of another name.
        NodeChangedKind: a segment would become a supervisor, or the other way round.
    """
    refuse_strangers(tree.root.path, spec)
    changes = compare(tree.declared, spec, tree.states, live_quotas)
    grown = _transplanted(tree, standing_spec(tree.root.spec, spec), spec, incarnations)
    draft = Draft(grown, now_s)
    _put_cursors(draft, tree)
    _let_newcomers_queue(draft, tree)
    _let_leave(draft)  # first of all, so that nothing is started only to be stopped
    _welcome_back(draft, tree)
    _take_effect(draft, tree, changes)
    _wake_waiting(draft)
    settle(draft)
    if request:
        draft.actions.append(Answer(request, ok=True, code="ok", text=_said(changes)))
    done = conclude(draft)
    return replace(done, changed=_different(tree, done.tree), before={}, previous=tree)


def refuse_strangers(pipeline: str, spec: SupervisorSpec) -> None:
    """Refuse the spec of another pipeline.

    Raises:
        AnotherPipeline: it is.
    """
    if spec.name != pipeline:
        raise AnotherPipeline(
            f"this is pipeline {spec.name}, and {pipeline} is what runs",
            hint=f"psup launch starts {spec.name} beside it",
        )


def _said(changes: Sequence[Change]) -> str:
    """Return what a person is told.

    >>> _said([Change("p/a", "~", Effect.RESTART), Change("p/b", "-", Effect.STOP)])
    '1 changed, 1 removed'
    """
    words = {"+": "added", "~": "changed", "-": "removed"}
    counts = {word: sum(one.sign == sign for one in changes) for sign, word in words.items()}
    return ", ".join(f"{n} {word}" for word, n in counts.items() if n) or "nothing is different"


# ------------------------------------------------------------------------------- the tree's shape


def standing_spec(old: SupervisorSpec, new: SupervisorSpec) -> SupervisorSpec:
    """Return the new spec, with those that must leave still in their places.

    One that leaves stands behind the sibling that it stood behind before.

    Raises:
        NodeChangedKind: a segment would become a supervisor, or the other way round.

    >>> old = SupervisorSpec("p", (SegmentSpec("a"), SegmentSpec("b"), SegmentSpec("c")))
    >>> new = SupervisorSpec("p", (SegmentSpec("c"), SegmentSpec("a")))
    >>> [child.name for child in standing_spec(old, new).children]
    ['c', 'a', 'b']
    """
    before = {child.name: child for child in old.children}
    children: list[SegmentSpec | SupervisorSpec] = []
    for child in new.children:
        was = before.get(child.name)
        if isinstance(was, SupervisorSpec) and isinstance(child, SupervisorSpec):
            children.append(standing_spec(was, child))
        elif was is None or type(was) is type(child):
            children.append(child)
        else:
            raise NodeChangedKind(
                f"{child.name} below {new.name} is a {_kind(was)} and would become a"
                f" {_kind(child)}",
                hint="give the new one another name, or remove the old one first",
            )
    staying = {child.name for child in new.children}
    for position, child in enumerate(old.children):
        if child.name not in staying:
            left = old.children[position - 1].name if position else None
            names = [one.name for one in children]
            children.insert(names.index(left) + 1 if left in names else 0, child)
    return replace(new, children=tuple(children))


def _kind(spec: SegmentSpec | SupervisorSpec) -> str:
    return "segment" if isinstance(spec, SegmentSpec) else "supervisor"


def _transplanted(
    old: Tree, standing: SupervisorSpec, declared: SupervisorSpec, incarnations: Mapping[Path, int]
) -> Tree:
    """Return a tree of another shape in which every node that stays is as it was."""
    new = Tree(standing, declared=declared, strict=old.strict)
    for path, node in new.nodes.items():
        before = old.nodes.get(path)
        if before is not None:
            new.reinstate(node, before.state)
        elif isinstance(node, Segment):
            node.state = replace(node.state, incarnation=incarnations.get(path, 0))
    return new


def _put_cursors(draft: Draft, old: Tree) -> None:
    """Point every cursor at the child it pointed at, and hold every history to its new limit."""
    for node in list(draft.tree.nodes.values()):
        before = old.nodes.get(node.path)
        if not isinstance(node, Supervisor) or not isinstance(before, Supervisor):
            continue
        state = node.state
        most = node.spec.max_restarts
        if len(state.restarts) > most:
            # One more is one too many either way; older ones would only break the promise that a
            # window never holds more than its limit.
            state = replace(state, restarts=state.restarts[len(state.restarts) - most :])
        phase = _repointed(node, before)
        if phase is not state.phase:
            state = replace(state, phase=phase)
        if state is not node.state:
            draft.put_supervisor(node, state)


def _repointed(node: Supervisor, before: Supervisor) -> SupervisorPhase:
    """Return the phase with its positions as they are among the new children."""
    names = [child.path for child in node.children]
    phase = node.state.phase
    if names == [child.path for child in before.children]:
        return phase
    match phase:
        case BringingUp(_, cursor):
            begun = [child.position for child in node.children if not _is_at_rest(child)]
            awaited = _positions(names, before.children[cursor : cursor + 1])
            return replace(phase, cursor=max((*awaited, *begun), default=0))
        case Recycling(_, first, _):
            first = min(_positions(names, before.children[first:]), default=len(names))
            busy = [child for child in node.children[first:] if not _is_at_rest(child)]
            return replace(phase, first=first, cursor=len(names) - 1 if busy else first - 1)
        case GoingDown():
            return replace(phase, cursor=len(names) - 1)
        case _:
            return phase


def _is_at_rest(child: Node) -> bool:
    """Does nothing of it live, and is nothing scheduled for it?"""
    scheduled = isinstance(child.state.phase, Waiting | BackingOff | SupervisorBackingOff)
    return not child.lives and not scheduled


def _positions(names: Sequence[Path], children: Sequence[Node]) -> list[int]:
    """Return where those of the children that are still there stand now."""
    return [names.index(child.path) for child in children if child.path in names]


def _let_newcomers_queue(draft: Draft, old: Tree) -> None:
    """Line up in start order who can begin now, and whose turn will not come by itself.

    Those of an earlier change that is still under way keep their places. Who leaves again before
    its turn has come is not even started.
    """
    tree = draft.tree
    queued = {node.path for node in old.joining}
    queue = []
    for node in tree.nodes.values():
        if could_begin(node) and _leaves(node, tree):
            want(draft, node, wanted=False)
        elif could_begin(node) or node.path in queued:
            queue.append(node)
    tree.joining = tuple(queue)


def _leaves(node: Node, tree: Tree) -> bool:
    return any(is_below(node, leaving) for leaving in tree.leaving)


def take_up_change(tree: Tree) -> None:
    """Find the newcomers of a change that was under way when the states were saved.

    Which of the lives that are starting now is a newcomer was not saved, so all are awaited.
    """
    coming = {node.path for node in tree.nodes.values() if could_begin(node)}
    tree.joining = tuple(
        node
        for node in tree.nodes.values()
        if node.path in coming or (coming and type(node.state.phase) is Starting)
    )


def _welcome_back(draft: Draft, old: Tree) -> None:
    """Take back the stop of those that were leaving and are declared again."""
    for was in old.leaving:
        node = draft.tree.nodes.get(was.path)
        if node is None or node.state.wanted or _leaves(node, draft.tree):
            continue
        if node.parent is not None and node.parent.active:
            start_node(draft, node)
        else:
            want(draft, node, wanted=True)


# ----------------------------------------------------------------------------------- taking effect


def _take_effect(draft: Draft, old: Tree, changes: Sequence[Change]) -> None:
    """Restart whose body is another one, and let policy hold at once everywhere else."""
    for change in changes:
        node = draft.tree.nodes[change.path]
        before = old.nodes.get(change.path)
        if change.sign != "~" or not isinstance(node, Segment) or not isinstance(before, Segment):
            continue
        if node.state.incarnation != before.state.incarnation:
            continue  # welcomed back a moment ago: it begins with the new spec anyway
        if change.effect is Effect.RESTART:
            tell(draft, node, RestartRequested(node.path))
            continue
        life = node.state.incarnation
        given = adjustments_of(node.spec, node.state, life)
        was = adjusted(before.spec, adjustments_of(before.spec, node.state, life))
        now = adjusted(node.spec, given)
        phase = _retimed(node.state.phase, was, now)
        if phase is not node.state.phase:
            draft.put_phase(node, phase)
        if node.lives and _concerns_its_cell(was, now):
            draft.actions.append(Adjust(node.path, life, given))


def _retimed(phase: Phase, before: SegmentSpec, now: SegmentSpec) -> Phase:
    """Return the phase with its deadline as the new spec has it, counted from when it began."""
    match phase:
        case Starting(since_s) if before.start_timeout_s != now.start_timeout_s:
            return Starting(since_s, since_s + now.start_timeout_s)
        case Running(since_s) if before.quota.time_s != now.quota.time_s:
            limit_s = now.quota.time_s
            return Running(since_s, None if limit_s is None else since_s + limit_s)
        case Stopping(since_s, _, why) if before.shutdown.grace_s != now.shutdown.grace_s:
            grace_s = now.shutdown.grace_s
            return Stopping(since_s, None if grace_s is None else since_s + grace_s, why)
        case _:
            return phase


def _concerns_its_cell(before: SegmentSpec, now: SegmentSpec) -> bool:
    """Is something different that the cell of a living body holds, and not the core?"""
    return (
        before.quota != now.quota
        or before.health != now.health
        or before.shutdown.signal != now.shutdown.signal
    )


def _wake_waiting(draft: Draft) -> None:
    """Start those that waited for something that `after` does not name any more."""
    for node in draft.tree.nodes.values():
        if not isinstance(node, Segment) or type(node.state.phase) is not Waiting:
            continue
        if node.cleared and lets_begin(node) and not _leaves(node, draft.tree):
            tell(draft, node, TurnCame(cleared=True))


# ---------------------------------------------------------------------------------- its conclusion


def conclude(draft: Draft) -> Step:
    """Move the change on as far as it goes; when it is done, the tree is what was declared."""
    tree = draft.tree
    joined, left = _let_join(draft), _let_leave(draft)
    made = draft.finish()
    if not tree.is_changing or not (joined and left):
        return made
    pruned = _transplanted(tree, tree.declared, tree.declared, _NONE)
    last = Draft(pruned, draft.now_s)
    _put_cursors(last, tree)
    settle(last)
    actions: tuple[Action, ...] = (*made.actions, *last.actions)
    changed = _different(tree, pruned, made.changed)
    return Step(pruned, actions, changed, made.before, previous=tree)


def _let_join(draft: Draft) -> bool:
    """Give newcomers their turns, one after the other; True when all have had theirs."""
    done = True
    for node in draft.tree.joining:
        if is_due(node) and lets_begin(node):
            offer_turn(draft, node)
            settle(draft)
        if not has_had_its_turn(node):
            done = False
            if node.parent is None or node.parent.spec.template is None:
                break
    return done


def _let_leave(draft: Draft) -> bool:
    """Stop those that leave, one after the other, last first; True when all are gone."""
    for node in reversed(draft.tree.leaving):
        if node.state.wanted:
            stop_node(draft, node)
            settle(draft)
        if node.lives:
            return False
    return True


def _different(old: Tree, new: Tree, besides: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the nodes of the new tree whose state is not what it was in the old one."""
    found = dict.fromkeys(path for path in besides if path in new.nodes)
    for path, node in new.nodes.items():
        before = old.nodes.get(path)
        if before is None or before.state is not node.state:
            found[path] = None
    return tuple(found)
