"""Who imports whom, read from the source without running it.

Imports inside functions and under ``if TYPE_CHECKING`` count like all others.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["ImportGraph", "Paths", "find_modules", "imported_names", "module_level_imports"]

Paths = dict[str, tuple[str, ...]]


def find_modules(root: Path, package: str) -> dict[str, Path]:
    """The dotted name of every module below ``root/package``, and its file."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are banned by ruff (TID252)"
        assert node.module is not None
        yield node.module
        for alias in node.names:
            # May be a submodule or a thing in the module: the graph keeps it if it is a module.
            yield f"{node.module}.{alias.name}"


def imported_names(tree: ast.AST) -> set[str]:
    """Every dotted name that an import anywhere in ``tree`` mentions."""
    return {name for node in ast.walk(tree) for name in _names_of(node)}


def module_level_imports(tree: ast.Module) -> set[str]:
    """The dotted names imported when the module is imported (not inside its functions)."""
    waiting: deque[ast.AST] = deque(tree.body)
    found: set[str] = set()
    while waiting:
        node = waiting.popleft()
        found.update(_names_of(node))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return found


class ImportGraph:
    """The imports among the modules of one package, and those that leave it.

    :param modules: dotted name and file, as from :func:`find_modules`.
    """

    def __init__(self, modules: Mapping[str, Path]) -> None:
        self.modules = dict(modules)
        self.trees = {
            name: ast.parse(path.read_text(encoding="utf-8"), str(path))
            for name, path in self.modules.items()
        }
        self._names = {name: imported_names(tree) for name, tree in self.trees.items()}

    def inner(self, module: str) -> set[str]:
        """The modules of this package that ``module`` imports."""
        return {name for name in self._names[module] if name in self.modules} - {module}

    def outer(self, module: str) -> set[str]:
        """The top-level names of everything else that ``module`` imports."""
        package = module.partition(".")[0]
        tops = {name.partition(".")[0] for name in self._names[module]}
        return tops - {package, "__future__"}

    def reach(self, starts: Iterable[str]) -> Paths:
        """Every module that an import path leads to, with one shortest path from a start."""
        paths: Paths = {start: (start,) for start in starts}
        waiting = deque(paths)
        while waiting:
            module = waiting.popleft()
            for name in sorted(self.inner(module)):
                # Importing a.b.c runs a and a.b first.
                parents = name.split(".")
                for depth in range(1, len(parents) + 1):
                    step = ".".join(parents[:depth])
                    if step in self.modules and step not in paths:
                        paths[step] = (*paths[module], step)
                        waiting.append(step)
        return paths
