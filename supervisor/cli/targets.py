"""What a person means by `train`: finds the nodes that a target names.

A target is a full path (`digits/training/train`), a path without the pipeline (`training/train`),
a last part that only one node has (`train`), or a quoted glob (`'digits/*'`), which matches
segments. Pipelines that run win over those that are down. Nothing is guessed: what fits twice is
refused with the candidates, what fits nowhere with the nearest names.
Decides only which paths are meant; reads no database. Read next: `control.py`, `why.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from supervisor.cli.words import did_you_mean, listing
from supervisor.errors import NoSuchTarget

_GLOB_CHARACTERS = frozenset("*?[")
_CANDIDATES_SHOWN = 12


class Candidate(NamedTuple):
    """A node that can be meant.

    Args:
        path: the full path; its first part is the pipeline.
        kind: "supervisor", "task" or "service".
        live: its pipeline is not down.
    """

    path: str
    kind: str
    live: bool = True


def resolve(
    targets: Sequence[str], candidates: Sequence[Candidate], pipeline: str | None = None
) -> list[str]:
    """Return the full paths that the targets mean, in the order given, each once.

    Args:
        targets: what was typed.
        candidates: every node of every pipeline, in tree order.
        pipeline: only nodes of this pipeline are meant.

    Raises:
        NoSuchTarget: nothing fits, more than one node fits, or there is no such pipeline.
    """
    if pipeline is not None:
        candidates = _of_pipeline(candidates, pipeline)
    found: dict[str, None] = {}
    for target in targets:
        found.update(dict.fromkeys(_find(target.strip("/"), candidates)))
    return list(found)


def resolve_pipelines(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the wanted names, all of them when none is wanted.

    Raises:
        NoSuchTarget: there is no pipeline of one of these names.
    """
    for name in wanted:
        if name not in names:
            raise NoSuchTarget(
                f"no pipeline is called {name!r}{did_you_mean(name, names)}",
                hint=f"there is {_shown(list(names))}" if names else "psup launch FILE starts one",
            )
    return list(dict.fromkeys(wanted)) or list(names)


def segments_below(paths: Iterable[str], candidates: Sequence[Candidate]) -> list[str]:
    """Return the segments among and below these paths, in tree order."""
    roots = tuple(paths)
    return [
        node.path
        for node in candidates
        if node.kind != "supervisor"
        and any(node.path == root or node.path.startswith(root + "/") for root in roots)
    ]


def short_names(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Map every full path to the shortest target that means it and nothing else."""
    owners: dict[str, int] = {}
    for node in candidates:
        for tail in _tails(node.path):
            owners[tail] = owners.get(tail, 0) + 1
    return {
        node.path: next((tail for tail in _tails(node.path) if owners[tail] == 1), node.path)
        for node in candidates
    }


def _find(target: str, candidates: Sequence[Candidate]) -> list[str]:
    is_glob = not _GLOB_CHARACTERS.isdisjoint(target)
    found = _globbed(target, candidates) if is_glob else _named(target, candidates)
    live = [node for node in found if node.live]
    paths = [node.path for node in live or found]
    if not paths:
        raise _nothing_fits(target, candidates)
    if len(paths) > 1 and not is_glob:
        raise NoSuchTarget(
            f"{target!r} fits {len(paths)} nodes: {_shown(paths)}",
            hint="type more of the path, or choose with --pipeline NAME",
        )
    return paths


def _named(target: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Full path first; then, in each pipeline, the path below it before a mere last part."""
    fits: dict[str, list[Candidate]] = {}
    exact: dict[str, Candidate] = {}
    for node in candidates:
        if node.path == target:
            return [node]
        pipeline, _, below = node.path.partition("/")
        if below == target:
            exact[pipeline] = node
        if node.path.endswith("/" + target):
            fits.setdefault(pipeline, []).append(node)
    return [
        node
        for pipeline, nodes in fits.items()
        for node in ([exact[pipeline]] if pipeline in exact else nodes)
    ]


def _globbed(pattern: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """A pattern without `/` is about last parts; `*` then spans no more than one name."""
    from fnmatch import fnmatchcase  # only globs need it

    def fits(path: str) -> bool:
        if "/" not in pattern:
            return fnmatchcase(path.rpartition("/")[2], pattern)
        return fnmatchcase(path, pattern) or fnmatchcase(path.partition("/")[2], pattern)

    return [node for node in candidates if node.kind != "supervisor" and fits(node.path)]


def _of_pipeline(candidates: Sequence[Candidate], pipeline: str) -> list[Candidate]:
    names = list(dict.fromkeys(node.path.partition("/")[0] for node in candidates))
    resolve_pipelines([pipeline], names)
    return [node for node in candidates if node.path.partition("/")[0] == pipeline]


def _nothing_fits(target: str, candidates: Sequence[Candidate]) -> NoSuchTarget:
    names = short_names(candidates)
    every = [*names.values(), *(node.path for node in candidates)]
    return NoSuchTarget(
        f"no node is called {target!r}{did_you_mean(target, every)}",
        hint=f"there is {_shown(list(names.values()))}" if names else "psup launch FILE starts one",
    )


def _shown(names: list[str]) -> str:
    rest = len(names) - _CANDIDATES_SHOWN
    if rest <= 0:
        return listing(names)
    return f"{', '.join(names[:_CANDIDATES_SHOWN])} and {rest} more"


def _tails(path: str) -> Iterable[str]:
    """Yield `train`, `training/train`, `digits/training/train`: the ways to name one node."""
    parts = path.split("/")
    for begin in range(len(parts) - 1, -1, -1):
        yield "/".join(parts[begin:])
