"""Extension of Griffe: the reference has constants that are assigned several at a time, too (``A, B = 1, 2``)."""

import ast
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import griffe


class TupleConstants(griffe.Extension):
    """Adds the constants of assignments to tuples; those of one assignment share its docstring."""

    def on_module_members(self, *, node: Any, mod: griffe.Module, **_: Any) -> None:
        """Called when all other members of a module are known."""
        if not isinstance(node, ast.Module):
            return
        for statement, following in itertools.zip_longest(node.body, node.body[1:]):
            if isinstance(statement, ast.Assign):
                for name, value in _assigned_together(statement):
                    mod.set_member(name.id, _attribute(mod, name, value, _docstring(following)))


def _assigned_together(statement: ast.Assign) -> Iterator[tuple[ast.Name, ast.expr]]:
    """The names of an assignment to a tuple (and to names beside it: ``A, B = BOTH = 1, 2``), each with its value."""
    if any(isinstance(target, ast.Tuple) for target in statement.targets):
        for target in statement.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for number, name in enumerate(names):
                if isinstance(name, ast.Name):
                    yield name, statement.value if name is target else _part(statement.value, number)


def _attribute(
    module: griffe.Module, name: ast.Name, value: ast.expr, docstring: griffe.Docstring | None
) -> griffe.Attribute:
    attribute = griffe.Attribute(
        name.id,
        value=griffe.safe_get_expression(value, parent=module),
        lineno=name.lineno,
        endlineno=name.end_lineno,
        parent=module,
        docstring=docstring,
    )
    attribute.labels.add("module-attribute")
    return attribute


def _part(value: ast.expr, number: int) -> ast.expr:
    """What one of the names gets; of a value that is no tuple, as ``range(3)``, the whole is shown."""
    return value.elts[number] if isinstance(value, ast.Tuple) else value


def _docstring(statement: ast.stmt | None) -> griffe.Docstring | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return griffe.Docstring(inspect.cleandoc(text), lineno=statement.lineno, endlineno=statement.end_lineno)
    return None
