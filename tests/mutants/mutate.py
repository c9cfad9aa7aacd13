"""Small faults put into a source file: another operator, another constant, a condition inverted, a line gone."""

import ast
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
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
}
SIZES_OF_PIECES = re.compile(r"_?([A-Z]+_)*(AT_ONCE|BLOCK|BUDGET|CHUNK|PIECE)(_[A-Z]+)*")
"""Names of constants that say how much is read or computed at once: no result may depend on them."""


@dataclass(frozen=True)
class Mutant:
    """One fault in a source: its line, its place in bytes, what stands there and what shall stand there."""

    line: int
    start: int
    before: str
    after: str

    def source(self, source: str) -> str:
        """The source with the fault in it."""
        content = source.encode()
        end = self.start + len(self.before.encode())
        return (content[: self.start] + self.after.encode() + content[end:]).decode()


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a source that some test could notice.

    Types, protocols, imports, decorators, docstrings, and the words of messages stay as they are. So does what changes
    no right program: the ``strict=True`` of zip, and how much is read or computed at once.
    """
    tree = ast.parse(source)
    spared = {id(node) for top in _spared(tree) for node in ast.walk(top)}
    for node in ast.walk(tree):
        if id(node) not in spared:
            yield from (_mutant(source, node, after) for after in _faults(node))


def _spared(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Raise() | ast.Assert():
                yield node
            case ast.Expr(value=ast.Constant()):
                yield node
            case ast.If() if "TYPE_CHECKING" in ast.unparse(node.test):
                yield node
            case ast.AnnAssign():
                yield node.annotation
            case ast.arg(annotation=ast.AST() as annotation):
                yield annotation
            case ast.FunctionDef():
                yield from [*node.decorator_list, *filter(None, [node.returns])]
            case ast.ClassDef(bases=[ast.Name("Protocol")]):
                yield node
            case ast.ClassDef():
                yield from node.decorator_list
            case ast.Call(func=ast.Name("zip")):
                yield from (each for each in node.keywords if ast.unparse(each) == "strict=True")
            case ast.Assign(targets=[target]) if all(map(SIZES_OF_PIECES.fullmatch, _names(target))):
                yield node.value


def _names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def _faults(node: ast.AST) -> Iterator[str]:
    """What may stand in a node's place."""
    match node:
        case ast.BinOp(left=ast.AST(), op=op) if type(op) in OPERATORS:
            yield f"({ast.unparse(_with(node, op=OPERATORS[type(op)]()))})"
        case ast.BoolOp(op=op):
            yield f"({ast.unparse(_with(node, op=OPERATORS[type(op)]()))})"
        case ast.Compare(ops=[op, *rest]) if type(op) in OPERATORS:
            yield f"({ast.unparse(_with(node, ops=[OPERATORS[type(op)](), *rest]))})"
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.IfExp(test=test):
            yield f"({ast.unparse(_with(node, test=ast.UnaryOp(ast.Not(), test)))})"
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() as value):
            yield str(value + 1)
        case ast.Constant(value=float() as value):
            yield repr(value * 2 or 1.0)
        case ast.Break():
            yield "continue"
        case ast.Continue():
            yield "break"
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _mutant(source: str, node: ast.AST, after: str) -> Mutant:
    assert isinstance(node, ast.expr | ast.stmt)
    before = ast.get_source_segment(source, node)
    assert before is not None
    lines = source.encode().splitlines(keepends=True)
    # columns of the syntax tree count bytes of UTF-8
    return Mutant(node.lineno, sum(map(len, lines[: node.lineno - 1])) + node.col_offset, before, after)
