"""Small wrong versions of a source file: one change each, found by walking its syntax tree.

Not changed are annotations, docstrings, decorators, what an error says and other texts, and two keywords:
zip's `strict`, which only guards against a mistake, and `device`, of which a machine without a GPU has one.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType

SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
UNTOUCHED = {"annotation", "returns", "decorator_list", "type_comment", "exc", "cause"}
KEYWORDS_LEFT_OUT = ("strict", "device")
LEFT_OUT = (ast.Import, ast.ImportFrom, ast.Assert, ast.Global, ast.Nonlocal)


@dataclass(frozen=True)
class Mutant:
    """One change. `ordinal` counts the sites of its file; `lines` are those of the whole statement.

    `runs_on_import`: the line is run when the module is loaded, not when a test calls it.
    """

    file: str
    ordinal: int
    line: int
    lines: tuple[int, int]
    runs_on_import: bool
    before: str
    after: str


@dataclass(frozen=True)
class Site:
    """A place in a tree and what may stand there instead; `put` puts it there."""

    node: ast.AST
    statement: ast.stmt
    runs_on_import: bool
    after: str
    put: Callable[[], None]


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file, always in the same order."""
    return [
        Mutant(
            file,
            ordinal,
            site.node.lineno,  # type: ignore[attr-defined]
            (site.statement.lineno, _last_line(site.statement)),
            site.runs_on_import,
            _shown(ast.unparse(site.node)),
            _shown(site.after),
        )
        for ordinal, site in enumerate(_sites(ast.parse(source)))
    ]


def sampled(mutants: list[Mutant], seed: int, count: int) -> list[Mutant]:
    """By a hash of each change, so that a sample stays as it is where the code stays as it is."""
    before: Counter[tuple[str, ...]] = Counter()
    places: dict[Mutant, str] = {}
    for mutant in mutants:
        change = (mutant.file, mutant.before, mutant.after)
        places[mutant] = hashed(seed, *change, *([before[change]] if before[change] else []))
        before[change] += 1
    return sorted(mutants, key=places.__getitem__)[: count or None]


def hashed(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def compiled(mutant: Mutant, source: str, path: str) -> CodeType:
    """The file's code with this one change in it."""
    tree = ast.parse(source)
    next(itertools.islice(_sites(tree), mutant.ordinal, None)).put()
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


def _sites(tree: ast.Module) -> Iterator[Site]:
    yield from _inside(tree, tree.body[0], runs_on_import=True)


def _inside(parent: ast.AST, statement: ast.stmt, *, runs_on_import: bool) -> Iterator[Site]:
    for name, value in ast.iter_fields(parent):
        if name in UNTOUCHED:
            continue
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST) or isinstance(node, LEFT_OUT) or _is_text(node):
                continue
            if isinstance(node, ast.keyword) and node.arg in KEYWORDS_LEFT_OUT:
                continue
            own = node if isinstance(node, ast.stmt) else statement
            called_later = isinstance(parent, (ast.FunctionDef, ast.Lambda)) and name == "body"
            on_import = runs_on_import and not called_later
            for new, after in _changed(node, parent, name):

                def put(
                    new: ast.AST = new, name: str = name, value: object = value, index: int = index
                ) -> None:
                    if isinstance(value, list):
                        value[index] = ast.copy_location(new, value[index])
                    else:
                        setattr(parent, name, ast.copy_location(new, value))  # type: ignore[type-var]

                yield Site(node, own, on_import, after or ast.unparse(new), put)
            yield from _inside(node, own, runs_on_import=on_import)


def _is_text(node: ast.AST) -> bool:
    """A docstring or a sentence: what is shown to a person and not what is computed."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.JoinedStr) and any(
        isinstance(part, ast.Constant) and " " in str(part.value) for part in node.values
    )


def _changed(node: ast.AST, parent: ast.AST, name: str) -> Iterator[tuple[ast.AST, str]]:
    """What may stand in the node's place, and words for it where the code alone would not show the change."""
    if isinstance(node, ast.stmt):
        yield from _changed_statement(node)
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            yield _with(node, ops=[*node.ops[:index], SWAPPED[type(operator)](), *node.ops[index + 1 :]]), ""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in SWAPPED:
        yield _with(node, op=SWAPPED[type(node.op)]()), ""
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert))
    if negated:
        yield node.operand, ""  # type: ignore[attr-defined]
    turned = negated or (isinstance(node, ast.Compare) and len(node.ops) == 1)  # above
    if isinstance(parent, (ast.If, ast.IfExp, ast.While)) and name == "test" and not turned:
        yield ast.UnaryOp(ast.Not(), node), ""  # type: ignore[arg-type]
    if isinstance(parent, ast.comprehension) and name == "ifs":
        yield ast.Constant(True), "True"
    if isinstance(node, ast.Constant):
        yield from _changed_constant(node)
    if isinstance(node, ast.Call):
        for index, keyword in enumerate(node.keywords):
            if keyword.arg not in (None, *KEYWORDS_LEFT_OUT):
                rest = [*node.keywords[:index], *node.keywords[index + 1 :]]
                yield _with(node, keywords=rest), f"without {ast.unparse(keyword)}"
        if len(node.args) > 1 and not isinstance(node.args[-1], ast.Starred):
            yield _with(node, args=node.args[:-1]), f"without {ast.unparse(node.args[-1])}"
    if isinstance(node, ast.JoinedStr):
        for index, part in enumerate(node.values):
            if isinstance(part, ast.FormattedValue) and len(node.values) > 1:
                yield _with(node, values=[*node.values[:index], *node.values[index + 1 :]]), ""


def _changed_statement(node: ast.stmt) -> Iterator[tuple[ast.stmt, str]]:
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield ast.Return(ast.Constant(None)), ""
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    kept = isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Attribute, ast.Subscript))
    if called or kept or isinstance(node, (ast.AugAssign, ast.Raise, ast.Delete, ast.Break, ast.Continue)):
        yield ast.Pass(), ""


def _changed_constant(node: ast.Constant) -> Iterator[tuple[ast.Constant, str]]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value), ""
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1), ""
    elif isinstance(node.value, float):
        yield ast.Constant(node.value * 2 or 1.0), ""


def _with(node: ast.AST, **changes: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in changes.items():
        setattr(new, name, value)
    return new


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _last_line(statement: ast.stmt) -> int:
    """Of a compound statement, the last line of its head."""
    body = getattr(statement, "body", None)
    if isinstance(body, list) and body:
        return max(statement.lineno, body[0].lineno - 1)
    return statement.end_lineno or statement.lineno


def _shown(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 160 else line[:157] + "..."
