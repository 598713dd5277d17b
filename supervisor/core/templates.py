"""Templates: one segment is declared and n instances run, `serve/0`, `serve/1` and so on.

A template is a supervisor whose children are copies of one segment. They need nothing of each
other, so they start side by side and are stopped side by side, as OTP's `simple_one_for_one` does.
To scale one is to change the spec: everything else follows from `reconfigure.py`.
Pure questions about specs; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from supervisor.core.spec import NodeSpec, Path, SegmentSpec, SupervisorSpec
from supervisor.errors import NotATemplate, TooManyChildren


def templated(
    segment: SegmentSpec, replicas: int, max_children: int | None = None
) -> SupervisorSpec:
    """Return the supervisor that runs so many instances of a segment.

    >>> [child.name for child in templated(SegmentSpec("serve"), 2).children]
    ['0', '1']
    """
    instances = tuple(replace(segment, name=str(number)) for number in range(replicas))
    return SupervisorSpec(
        segment.name,
        instances,
        backoff=segment.backoff,
        notes=segment.notes,
        template=segment,
        max_children=max_children,
    )


def scaled(spec: SupervisorSpec, path: Path, count: int) -> SupervisorSpec:
    """Return the tree with another number of instances of one template.

    Who waits for its instances (`after`) waits for all that there are then.

    Args:
        spec: the whole tree.
        path: the template's full path.
        count: how many, >= 1.

    Raises:
        NotATemplate: the path is that of something else, or of nothing.
        TooManyChildren: `max_children` is less, or they would all listen on one port.
    """
    template = _node(spec, path)
    if not isinstance(template, SupervisorSpec) or template.template is None:
        raise NotATemplate(f"{path} has no `replicas`, so it cannot be scaled")
    most = template.max_children
    if count < 1 or (most is not None and count > most):
        allowed = "at least 1" if most is None else f"from 1 to {most} (`max_children`)"
        raise TooManyChildren(f"{path} may have {allowed} instances, not {count}")
    fixed = [name for name, port in template.template.body.ports.items() if port]
    if count > 1 and fixed:
        raise TooManyChildren(
            f"{path} has a fixed port ({fixed[0]}), and only one can listen there"
        )
    fresh = templated(template.template, count, most).children[len(template.children) :]
    changed = replace(template, children=(*template.children[:count], *fresh))
    return waiting_for_all(_with_node(spec, path.split("/")[1:], changed), {path: count})


def waiting_for_all(spec: SupervisorSpec, counts: dict[Path, int]) -> SupervisorSpec:
    """Return the tree in which an `after` that names a template or an instance names all instances.

    Args:
        spec: the whole tree.
        counts: template's path -> number of instances.
    """
    children: list[NodeSpec] = []
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            below = waiting_for_all(child, counts)
            if below.template is not None:
                below = replace(below, template=_waiting(below.template, counts))
            children.append(below)
        else:
            children.append(_waiting(child, counts))
    return replace(spec, children=tuple(children))


def _waiting(segment: SegmentSpec, counts: dict[Path, int]) -> SegmentSpec:
    named = dict.fromkeys(one for path in segment.after for one in _expanded(path, counts))
    return replace(segment, after=tuple(named)) if segment.after else segment


def _expanded(path: Path, counts: dict[Path, int]) -> Iterator[Path]:
    above = path.rpartition("/")[0]
    template = path if path in counts else above if above in counts else None
    if template is None:
        yield path
    else:
        yield from (f"{template}/{number}" for number in range(counts[template]))


def _node(spec: SupervisorSpec, path: Path) -> NodeSpec | None:
    node: NodeSpec | None = spec
    for name in path.split("/")[1:]:
        below = node.children if isinstance(node, SupervisorSpec) else ()
        node = next((child for child in below if child.name == name), None)
    return node


def _with_node(spec: SupervisorSpec, below: list[str], node: NodeSpec) -> SupervisorSpec:
    name, *rest = below
    children: list[NodeSpec] = []
    for child in spec.children:
        if child.name != name:
            children.append(child)
        elif rest and isinstance(child, SupervisorSpec):
            children.append(_with_node(child, rest, node))
        else:
            children.append(node)
    return replace(spec, children=tuple(children))
