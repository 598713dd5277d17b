"""Whether the code that a segment names can be found, without running any of it.

Decides only what to warn about: the path may differ where the body runs, so nothing here is an
error. It never imports the user's modules; their source is parsed at most.
Read next: `build.py` (who warns).
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from supervisor.config.problems import closest

_LARGEST_SOURCE_BYTES = 2**20


def doubt_about_target(target: str, folder: Path) -> tuple[str, str]:
    """Return what is doubtful about `module:callable`, and a suggestion; "" if nothing is.

    Args:
        target: the value of `run`.
        folder: where modules are looked for first.
    """
    module, _, attribute = target.partition(":")
    top = module.partition(".")[0]
    is_here = any((folder / name).exists() for name in (top, f"{top}.py"))
    if not is_here:
        if _installed(top) is not None:
            return "", ""
        meant = closest(top, (file.stem for file in folder.glob("*.py")))
        suggestion = f"`{meant}:{attribute}`" if meant else ""
        return f"no module `{top}` in {folder} or on Python's path", suggestion
    source = _source(module, folder)
    if source is None:
        return f"no module `{module}` in {folder}", ""
    names = _top_level_names(source)
    wanted = attribute.partition(".")[0]
    if not names or names & {wanted, "*", "__getattr__"}:
        return "", ""
    meant = closest(wanted, names)
    return f"{source.name} defines no `{wanted}`", f"`{module}:{meant}`" if meant else ""


def doubt_about_program(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[str, str]:
    """Return what is doubtful about a `command`, and a suggestion; "" if nothing is.

    Args:
        argv: the program and its arguments.
        folder: the working folder, which a program with a `/` is relative to.
        environment: whose PATH is searched.
    """
    program = argv[0]
    if "/" in program:
        found = shutil.which(str(folder / program))
        return ("", "") if found else (f"no program `{program}` in {folder}", "")
    if shutil.which(program, path=environment.get("PATH", "")):
        return "", ""
    meant = f"`./{program}`" if (folder / program).is_file() else ""
    return f"no program `{program}` on PATH", meant


def _source(module: str, folder: Path) -> Path | None:
    """Return the file of a module below a folder; the folder itself for a namespace package."""
    place = folder.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py"), place):
        if file.exists():
            return file
    return None


def _installed(top: str) -> ModuleSpec | None:
    """Find a module on this interpreter's own path; one without a spec (`__main__`) is none."""
    try:
        return find_spec(top)
    except ValueError:
        return None


def _top_level_names(file: Path) -> frozenset[str]:
    """Return the names that a source file defines; empty when it cannot be told."""
    if not file.is_file() or file.stat().st_size > _LARGEST_SOURCE_BYTES:
        return frozenset()
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()  # the body will say it better, with a traceback
    return frozenset(name for node in ast.walk(tree) for name in _bound(node))


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.ImportFrom() | ast.Import():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        case _:
            pass
