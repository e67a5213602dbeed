"""What the source may not contain, each rule as a function from a syntax tree to findings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

__all__ = ["secret_comparisons", "unclear_names", "words_of"]

SECRET_WORDS = {
    "digits",
    "mac",
    "macs",
    "password",
    "passwords",
    "pin",
    "pins",
    "prs",
    "secret",
    "secrets",
    "tag",
    "tags",
    "token",
    "tokens",
}

# What a name counts when it ends so is no secret: digits_tries_left.
COUNTING_ENDINGS = ("_count", "_left", "_length")

EMPTY_CLASS_SUFFIXES = (
    "Base",
    "Component",
    "Engine",
    "Handler",
    "Helper",
    "Helpers",
    "Manager",
    "Processor",
    "Util",
    "Utils",
)
EMPTY_VERBS = {"do", "handle", "process"}
# The verb of every core (machine.py); Twisted's reactor calls the camelCase ones.
ALLOWED_VERBS = {"handle_timeout"}


def words_of(name: str) -> set[str]:
    """``remote_macC`` → remote, mac, c."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _is_empty_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("", b"")


def _secret_names(node: ast.expr) -> Iterator[str]:
    """The names whose values an operand of a comparison is made of.

    A name in capitals is a constant or a member of an Enum. A count, the length of a secret, and
    whether there is one, are no secrets.
    """
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            is_open = name.isupper() or name.endswith(COUNTING_ENDINGS)
            if not is_open and words_of(name) & SECRET_WORDS:
                yield name
        case ast.Call(func=ast.Name(id="len" | "bool")):
            return
        case ast.Call(func=function, args=arguments):
            yield from _secret_names(function)
            for argument in arguments:
                yield from _secret_names(argument)
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Await(value=value):
            yield from _secret_names(value)
        case ast.BinOp(left=left, right=right):
            yield from _secret_names(left)
            yield from _secret_names(right)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from _secret_names(element)


def secret_comparisons(tree: ast.AST) -> list[str]:
    """``==`` or ``!=`` on what its name says is a secret: it stops at the first wrong byte, and
    the time it takes tells how many were right. ``hmac.compare_digest`` does not.
    """
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if not isinstance(operator, ast.Eq | ast.NotEq):
                continue
            if _is_empty_constant(left) or _is_empty_constant(right):
                continue
            names = sorted({*_secret_names(left), *_secret_names(right)})
            found.extend(f"line {node.lineno}: {name}" for name in names)
    return found


def unclear_names(tree: ast.AST) -> list[str]:
    """Names that say nothing: docs/architecture, "Names"."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_CLASS_SUFFIXES):
            found.append(f"line {node.lineno}: class {node.name}")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            verb = node.name.lstrip("_").partition("_")[0]
            if verb in EMPTY_VERBS and node.name not in ALLOWED_VERBS:
                found.append(f"line {node.lineno}: def {node.name}")
    return found
