"""Small changes of a function's syntax tree: what a slip of the pen makes of a formula.

Comparison boundaries, signs and operators, constants off by one, terms left out, arms of a case distinction swapped,
minimum for maximum, a function left out, an option left out, a statement left out. Docstrings, annotations, error
messages, floating-point error states and conversions to arrays (the suite sends arrays) and lists are left alone. So is
what Python and NumPy take for the same, whatever the function (`_meaning`).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_COMMUTE = {
    "maximum",
    "minimum",
    "max",
    "min",
    "fmax",
    "fmin",
    "add",
    "multiply",
    "logical_and",
    "logical_or",
    "array_equal",
    "hypot",
    "logaddexp",
    "aligned_iou",  # of the specification
}
_CONVERSIONS = {"asarray", "float", "float64", "tolist"}
_NEW_ARRAYS = {"zeros", "ones", "empty"}
_ALONG_THE_LAST_AXIS = {"argsort", "sort"}
_NAMES = {
    "maximum": "minimum",
    "max": "min",
    "argmax": "argmin",
    "nanmax": "nanmin",
    "floor": "ceil",
    "any": "all",
    "log1p": "log",
    "expm1": "exp",
    "zeros": "ones",
    "zeros_like": "ones_like",
    "logical_and": "logical_or",
    "isinf": "isnan",
    "argsort": "sort",
    "union1d": "intersect1d",
}
_NAMES |= {other: name for name, other in _NAMES.items()} | {"sum": "mean", "isfinite": "isnan", "cumsum": "sort"}


@dataclass(frozen=True)
class Change:
    """One changed function."""

    text: str
    """What became what."""
    line: int
    """In the module's file."""
    tree: ast.FunctionDef


_Path = tuple[tuple[str, int | None], ...]


def changes(function: ast.FunctionDef, *, signature: bool, skip: Callable[[ast.AST], bool]) -> Iterator[Change]:
    """Every change of a function, each once.

    `signature` says whether defaults are changed too; `skip` names what is left alone.
    """
    bare = _bare(function)
    seen = {_meaning(bare)}
    texts: dict[str, int] = {}
    for path, node in _walk(bare, (), signature=signature, skip=skip):
        for new in _alternatives(node):
            tree = _replaced(bare, path, new)
            if (meaning := _meaning(tree)) in seen:
                continue
            seen.add(meaning)
            text = _text(bare, tree, path)
            texts[text] = texts.get(text, 0) + 1
            numbered = text if texts[text] == 1 else f"{text} ({texts[text]})"
            yield Change(numbered, getattr(node, "lineno", function.lineno), tree)


def _bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """Without docstring, decorators and annotations."""
    bare = copy.deepcopy(function)
    bare.decorator_list, bare.returns = [], None
    for argument in (*bare.args.posonlyargs, *bare.args.args, *bare.args.kwonlyargs):
        argument.annotation = None
    if ast.get_docstring(bare) is not None:
        bare.body = bare.body[1:] or [ast.Pass()]
    for node in ast.walk(bare):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                body = [_without_annotation(item) for item in value]
                setattr(node, name, body)
    return ast.fix_missing_locations(bare)


def _without_annotation(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.copy_location(ast.Assign([node.target], node.value), node)
    return node


def _walk(
    node: ast.AST, path: _Path, *, signature: bool, skip: Callable[[ast.AST], bool]
) -> Iterator[tuple[_Path, ast.AST]]:
    """Every node that may be changed, with the way to it."""
    if path and skip(node):
        return
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.withitem | ast.JoinedStr | ast.expr_context):
        return
    yield path, node
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.FunctionDef) and not path and not signature and name == "args":
            continue
        if isinstance(node, ast.Call) and name == "func" and isinstance(value, ast.Name):
            continue
        if isinstance(value, ast.AST):
            yield from _walk(value, (*path, (name, None)), signature=signature, skip=skip)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _walk(item, (*path, (name, number)), signature=signature, skip=skip)


def _replaced(root: ast.FunctionDef, path: _Path, new: ast.AST) -> ast.FunctionDef:
    tree = copy.deepcopy(root)
    node: ast.AST = tree
    for name, number in path[:-1]:
        node = _child(node, name, number)
    name, number = path[-1]
    new = copy.deepcopy(new)
    if number is None:
        setattr(node, name, new)
    else:
        getattr(node, name)[number] = new
    return ast.fix_missing_locations(tree)


def _child(node: ast.AST, name: str, number: int | None) -> ast.AST:
    value = getattr(node, name)
    child: ast.AST = value if number is None else value[number]
    return child


def _meaning(node: object) -> str:
    """The tree in one line, what Python and NumPy take for the same alike: a change of that alone is none.

    - Any negative length in `reshape` stands for the one that is left.
    - `strict` of `zip` only refuses; what a candidate must refuse is a choice, made in requirements.
    - `argsort` and `sort` take the last axis where none is named.
    - A new array of zeros, of ones or without content holds whole numbers and truth values as floats too, exactly;
      where only integers or only masks will do, NumPy raises. The format of an answer is left to the candidate.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_meaning, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Call):
        name = _called(node)
        left_out = "strict" if name == "zip" else "dtype" if name in _NEW_ARRAYS else ""
        fields["keywords"] = [k for k in node.keywords if k.arg != left_out]
        if name in _ALONG_THE_LAST_AXIS:
            fields["keywords"] = [k for k in node.keywords if k.arg != "axis" or not _is_negative(k.value, 1)]
        if name == "reshape":
            fields["args"] = ["rest" if _is_negative(length) else length for length in node.args]
    return f"{type(node).__name__}({','.join(map(_meaning, fields.values()))})"


def _is_negative(node: ast.expr, size: int | None = None) -> bool:
    """Whether a negative whole number stands there, of this size if one is named."""
    number = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else None
    value = number.value if isinstance(number, ast.Constant) else None
    return isinstance(value, int) and (value > 0 if size is None else value == size)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


_CONTEXT = 16  # characters that make a change recognisable


def _text(before: ast.FunctionDef, after: ast.FunctionDef, path: _Path) -> str:
    """The smallest expression or statement around the change that is long enough to be recognised."""
    steps = [(before, after)]
    for name, number in path:
        one, two = steps[-1]
        steps.append((_child(one, name, number), _child(two, name, number)))  # type: ignore[arg-type]
    shown = [(one, two) for one, two in steps[1:] if isinstance(one, ast.expr | ast.stmt)]
    for one, two in reversed(shown):
        if isinstance(one, ast.stmt) or len(ast.unparse(one)) >= _CONTEXT:
            return f"{_line(one)} -> {_line(two)}"
    one, two = shown[0] if shown else steps[1]
    return f"{_line(one)} -> {_line(two)}"


def _line(node: ast.AST) -> str:
    text = ast.unparse(node)
    first = text.splitlines()[0]
    return first if first == text else f"{first} ..."


# --- what a node may become ---------------------------------------------------------------------------------------


def _alternatives(node: ast.AST) -> Iterator[ast.AST]:
    for kind, change in _CHANGES:
        if isinstance(node, kind):
            yield from change(node)


def _compare(node: ast.Compare) -> Iterator[ast.AST]:
    for number, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            ops = [other() if n == number else o for n, o in enumerate(node.ops)]
            yield ast.Compare(node.left, ops, node.comparators)


def _binary(node: ast.BinOp) -> Iterator[ast.AST]:
    if (other := _OPERATORS.get(type(node.op))) is not None:
        yield ast.BinOp(node.left, other(), node.right)
        yield node.left
        if not isinstance(node.op, ast.Pow | ast.Mod | ast.FloorDiv):
            yield node.right


def _augmented(node: ast.AugAssign) -> Iterator[ast.AST]:
    if (other := _OPERATORS.get(type(node.op))) is not None:
        yield ast.AugAssign(node.target, other(), node.value)
    yield ast.Pass()


def _unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


def _logical(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for number in range(len(node.values)):
        rest = [value for n, value in enumerate(node.values) if n != number]
        yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)


def _choice(node: ast.IfExp) -> Iterator[ast.AST]:
    yield node.body
    yield node.orelse


def _condition(node: ast.If) -> Iterator[ast.AST]:
    yield ast.If(ast.Constant(True), node.body, node.orelse)
    yield ast.If(ast.Constant(False), node.body, node.orelse)


def _call(node: ast.Call) -> Iterator[ast.AST]:
    name, arguments, keywords = _called(node), node.args, node.keywords
    if name in _CONVERSIONS:
        return
    if name == "where" and len(arguments) == 3:
        yield ast.Call(node.func, [arguments[0], arguments[2], arguments[1]], keywords)
        yield arguments[1]
        yield arguments[2]
    elif len(arguments) >= 2 and name not in _COMMUTE:
        yield ast.Call(node.func, [arguments[1], arguments[0], *arguments[2:]], keywords)
    if (other := _NAMES.get(name)) is not None:
        yield ast.Call(_renamed(node.func, other), arguments, keywords)
    if len(arguments) == 1 and not isinstance(arguments[0], ast.Constant | ast.GeneratorExp | ast.ListComp):
        yield arguments[0]
    if len(arguments) == 2 and name in _COMMUTE:
        yield from arguments
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield node.func.value
    for number in range(len(keywords)):
        yield ast.Call(node.func, arguments, [k for n, k in enumerate(keywords) if n != number])


def _renamed(function: ast.expr, name: str) -> ast.expr:
    if isinstance(function, ast.Attribute):
        return ast.Attribute(function.value, name, ast.Load())
    return ast.Name(name, ast.Load())


def _is_module(node: ast.expr) -> bool:
    """np, np.add and the like."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in {"np", "math", "itertools"}


def _slice(node: ast.Slice) -> Iterator[ast.AST]:
    if node.lower is not None:
        yield ast.Slice(None, node.upper, node.step)
    if node.upper is not None:
        yield ast.Slice(node.lower, None, node.step)
    if node.step is not None:
        yield ast.Slice(node.lower, node.upper, None)


def _assignment(node: ast.Assign) -> Iterator[ast.AST]:
    """Left out, where the target keeps an older value: an element, or an argument under its own name."""
    target = node.targets[0]
    if isinstance(node.value, ast.Call) and _called(node.value) in _CONVERSIONS:
        return
    read = {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
    if isinstance(target, ast.Subscript) or (isinstance(target, ast.Name) and target.id in read):
        yield ast.Pass()


def _left_out(_: ast.AST) -> Iterator[ast.AST]:
    yield ast.Pass()


_CHANGES: tuple[tuple[type[ast.AST], Callable[..., Iterator[ast.AST]]], ...] = (
    (ast.Compare, _compare),
    (ast.BinOp, _binary),
    (ast.AugAssign, _augmented),
    (ast.UnaryOp, _unary),
    (ast.BoolOp, _logical),
    (ast.Constant, _constant),
    (ast.IfExp, _choice),
    (ast.If, _condition),
    (ast.Call, _call),
    (ast.Slice, _slice),
    (ast.Assign, _assignment),
    (ast.Expr, _left_out),
    (ast.Break, _left_out),
    (ast.Continue, _left_out),
)
