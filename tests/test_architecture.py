"""The boundaries, held by imports: who may know whom, and which file knows which product.

A boundary that is only written down is gone after a year. Everything here is read from the source,
imports inside functions included, without importing any of it.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "supervisor"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CORE = sorted((PACKAGE / "core").glob("*.py"))
BODY = sorted((PACKAGE / "body").glob("*.py"))

# Each room, and the rooms that it may know. The arrows of the design, one way only.
MAY_KNOW = {
    "": set(),
    "errors": set(),
    "core": {"errors"},
    "config": {"errors", "core"},
    "runtime": {"errors", "core", "config"},
    "adapters": {"errors", "core", "config", "runtime"},
    "body": set(),
    "cell": {"errors", "core", "runtime", "adapters", "body"},
    "daemon": {"errors", "core", "config", "runtime", "adapters", "cell"},
    "cli": {"errors", "core", "config", "runtime", "adapters", "cell", "daemon"},
    "__main__": {"cli"},
}
# Where people's files lie is one fact with one home, and the daemon needs to know it, too.
EXCEPTIONS = {("daemon", "supervisor.cli.home")}

# Files (by the beginning of their path below supervisor/) that may import a product.
PRODUCTS = {
    "ray": ("adapters/ray_", "adapters/embedded_ray", "cell/", "body/context"),
    "sqlite_utils": ("adapters/sqlite_",),
    "sqlite3": ("adapters/sqlite_", "cli/"),
    "psutil": ("adapters/psutil_",),
    "tenacity": ("adapters/io_retry",),
    "click": ("cli/",),
    "yaml": ("config/",),
}
# What a pure core must not touch: clocks, chance, files, threads, the outside.
IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
PARAGRAPH = re.compile(r"(?<!OTP )\b\d+\.\d+\b")
# A name that says nothing collects everything.
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}


def room(path: pathlib.Path) -> str:
    """The folder below supervisor/, or the module itself when it lies in no folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(path: pathlib.Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Full names of all modules that a file imports; `from a import b` counts as both."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _at_import(tree) if only_at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: everything but functions' bodies and typing blocks."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or typing_only:
            continue
        yield child
        yield from _at_import(child)


def module_of(path: pathlib.Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}
every_source = pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE))
)


@every_source
def test_rooms_know_only_what_they_may(path: pathlib.Path) -> None:
    """Imports go one way: errors, core, config, runtime, adapters, and then who composes them."""
    here = room(path)
    assert here in MAY_KNOW, f"{here} is a new room: say in MAY_KNOW whom it may know"
    for name in imports(path):
        if name == "supervisor" or not name.startswith("supervisor."):
            continue
        there = name.split(".")[1]
        excepted = any(
            here == who and (name == what or name.startswith(f"{what}."))
            for who, what in EXCEPTIONS
        )
        if there in MAY_KNOW and there != here and not excepted:
            assert there in MAY_KNOW[here], f"{here} must not know {name}"


@every_source
def test_products_are_known_to_few(path: pathlib.Path) -> None:
    """To drop a product, one looks at the files that may name it, and nowhere else."""
    here = str(path.relative_to(PACKAGE))
    for name in imports(path):
        product = name.split(".")[0]
        assert product not in PRODUCTS or here.startswith(PRODUCTS[product]), f"imports {name}"


@every_source
def test_examples_are_not_imported(path: pathlib.Path) -> None:
    """Pipelines, policies and tests are data to the program."""
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"pipelines", "policies", "tests", "scripts"}


@every_source
def test_names_say_something(path: pathlib.Path) -> None:
    """No drawer for the rest."""
    assert path.stem.lower() not in EMPTY_NAMES
    assert path.parent.name.lower() not in EMPTY_NAMES


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.stem
)
def test_core_is_pure(path: pathlib.Path) -> None:
    """The standard library only, and of that nothing with a clock, chance, files or threads."""
    roots = {name.split(".")[0] for name in imports(path)} - {"supervisor"}
    assert roots <= sys.stdlib_module_names
    assert not roots & IMPURE


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "body").glob("*.py")), ids=lambda path: path.stem
)
def test_body_is_light(path: pathlib.Path) -> None:
    """What runs in the user's process imports the standard library and itself, in milliseconds."""
    for name in imports(path, only_at_import=True):
        assert name.split(".")[0] in sys.stdlib_module_names or name.startswith("supervisor.body")


def test_package_itself_imports_nothing() -> None:
    """Read commands import it on every call."""
    assert set(imports(PACKAGE / "__init__.py")) <= {"__future__", "__future__.annotations"}


def test_adapters_of_different_products_do_not_know_each_other() -> None:
    """Who combines them is the composition root. A family shares the first word of its files.

    `io_retry` is how adapters repeat their own I/O, and is open to all of them.
    """
    for path in sorted((PACKAGE / "adapters").glob("*.py")):
        for name in imports(path):
            if not name.startswith("supervisor.adapters.") or name.count(".") != 2:
                continue
            other = name.split(".")[2]
            family = other.split("_")[0] == path.stem.split("_")[0]
            assert family or other == "io_retry", f"{path.name} imports {name}"


def test_no_module_waits_for_itself() -> None:
    """Modules can be read, and imported, one at a time: no cycle."""
    edges = {
        module: {name for name in imports(path, only_at_import=True) if name in MODULES}
        - _packages_above(module)
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(edges[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in sorted(MODULES):
        visit(module, ())


def _packages_above(module: str) -> set[str]:
    """`import a.b.c` runs a and a.b first; that is not what makes a cycle."""
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def test_core_has_a_test_file_for_each_module() -> None:
    """And no test file is about a module that is gone."""
    modules = {path.stem for path in (PACKAGE / "core").glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests/core").glob("test_*.py")}
    stories = {"live_change_properties", "otp_golden", "otp_semantics", "properties", "scenarios"}
    assert tests - stories == modules


def test_semantics_are_cited_as_they_are_numbered() -> None:
    """Every paragraph that a test or a source file of the core cites exists."""
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    numbers = {line.split("**")[1] for line in text.splitlines() if line.startswith("- **")}
    assert len(numbers) > 40
    cited: dict[str, str] = {}
    for path in (ROOT / "tests" / "core").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for number in PARAGRAPH.findall(ast.get_docstring(node) or ""):
                    cited[number] = f"{path.name}: {node.name}"
    assert len(cited) > 30
    assert {number: where for number, where in cited.items() if number not in numbers} == {}
