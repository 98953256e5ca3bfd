"""Which way imports run. The rooms and their levels are written down in one place: here."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "coeffdream"

# A room imports only rooms of a lower level; within a room anything goes, between rooms of one level nothing.
LEVELS = {
    "errors": 0,
    "checked": 0,
    "option": 0,
    "config": 0,
    "presets": 0,
    "resolve": 0,
    "stopping": 0,
    "limits": 0,
    "methods": 0,
    "tables": 0,
    "progress": 0,
    "warm": 0,
    "records": 1,
    "tracking": 2,
    "attention": 2,
    "diffusion": 2,
    "data": 2,
    "toybox": 2,
    "backbones": 3,
    "adapters": 3,
    "interop": 3,
    "compare": 3,
    "training": 4,
    "generation": 4,
    "sharing": 4,
    "metrics": 4,
    "report": 4,
    "bench": 5,
    "studies": 5,
    "api": 6,
    "cli": 6,
    "": 7,  # the package itself: the names of the Python API
    "__main__": 7,
    # Programs that build and judge the toybox: they may use anything, and nothing may use them.
    "workshop": 8,
}
# Level 0 is one floor of single files: errors, checked and limits lie under the others.
WITHIN_THE_GROUND_FLOOR = {
    ("config", "option"),
    ("config", "errors"),
    ("config", "limits"),
    ("config", "methods"),
    ("methods", "errors"),
    ("resolve", "config"),
    ("resolve", "presets"),
    ("resolve", "errors"),
    ("resolve", "checked"),
    ("checked", "errors"),
    ("limits", "errors"),
}
# The report is made from files, on a machine that may have no torch.
NO_TORCH = {
    "errors",
    "checked",
    "option",
    "config",
    "presets",
    "resolve",
    "limits",
    "methods",
    "records",
    "progress",
    "stopping",
    "tables",
    "report",
    "compare",
    "bench",
    "data",
    "cli",
    "__main__",
}
HEAVY = {
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "open_clip",
    "vendi_score",
    "safetensors",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(module: str) -> str:
    return module.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported in `tree`, as far as the import statement tells."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import_time(tree: ast.Module) -> ast.Module:
    """The module without its function bodies and without what only a type checker reads."""

    class Outline(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Outline().visit(tree)


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def ids(file: Path) -> str:
    return module_name(file) or "coeffdream"


def test_every_room_has_a_level():
    """A new room must say where it stands."""
    rooms = {room_of(module_name(file)) for file in FILES} - {""}
    assert rooms <= set(LEVELS)


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_imports_run_downwards(file):
    """Also inside functions: a late import is still a dependency."""
    module = module_name(file)
    wrong = []
    for name in imported(parsed(file)):
        head, _, target = name.partition(".")
        if head != "coeffdream" or not target or target == "__version__":
            continue
        here, there = room_of(module), room_of(target)
        allowed = here == there or LEVELS[there] < LEVELS[here] or (here, there) in WITHIN_THE_GROUND_FLOOR
        if not allowed:
            wrong.append(f"{module or 'coeffdream'} (level {LEVELS[here]}) imports {name}")
    assert not wrong


def test_no_two_files_import_each_other():
    """Not even over a third, and not even for a type: of two such files neither can be read alone."""
    modules = {"coeffdream." + module_name(file): file for file in FILES if module_name(file)}
    uses = {
        module: {
            name if name in modules else name.rpartition(".")[0]
            for name in imported(parsed(file))
            if name in modules or name.rpartition(".")[0] in modules
        }
        - {module}
        for module, file in modules.items()
    }
    # CycleError names the files of the cycle that it found.
    list(graphlib.TopologicalSorter(uses).static_order())


@pytest.mark.parametrize("file", [file for file in FILES if room_of(module_name(file)) in NO_TORCH], ids=ids)
def test_these_rooms_load_without_torch(file):
    """Heavy libraries wait inside the functions that use them."""
    heavy = {name.partition(".")[0] for name in imported(at_import_time(parsed(file)))} & HEAVY
    assert not heavy


@pytest.mark.parametrize("room", ["records", "report", "errors", "checked", "config"])
def test_these_rooms_never_use_torch(room):
    """Not even inside a function: a report is made where no torch is."""
    files = [file for file in FILES if room_of(module_name(file)) == room]
    assert files
    for file in files:
        assert not {name.partition(".")[0] for name in imported(parsed(file))} & {"torch", "diffusers"}, file
