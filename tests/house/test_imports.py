"""The borders of the house hold: docs/architecture, "Who may import whom"."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.import_graph import ImportGraph, find_modules, module_level_imports

ROOT = Path(__file__).resolve().parents[2]

GROUND = {"errors", "machine", "wire"}
PURE = GROUND | {"keys", "session", "mqtt", "websocket", "gateway"}

# Each part of the package and the parts that it may import besides itself.
MAY_IMPORT = {
    "errors": set(),
    "machine": {"errors"},
    "wire": {"errors"},
    "keys": GROUND,
    "session": GROUND | {"keys"},
    "gateway": GROUND | {"keys"},
    "mqtt": GROUND,
    "websocket": GROUND,
    "net": PURE,
    "services": PURE | {"net"},
    "cli": PURE | {"net"},
}

# What a pure module may use from outside. A list of what is allowed, because a list of what is
# forbidden always forgets one door to the clock, the network, chance, logs or the environment.
PURE_MAY_USE = {
    "abc",
    "attr",
    "attrs",
    "automat",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "msgspec",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "weakref",
}
# Reads the environment or the world although it needs no import.
IMPURE_BUILTINS = {"open", "input", "print", "breakpoint"}
# One module may use one thing of `os`: key material dies in a forked child.
PURE_EXCEPTIONS = {"porttunnel.keys.secret_holder": {"os": {"register_at_fork"}}}

CRYPTOGRAPHY_IMPORTERS = {
    "porttunnel.keys.primitives",
    "porttunnel.net.certificate",  # makes and pins TLS certificates
}

# Dynamic imports would make this whole file blind.
DYNAMIC_IMPORTS = {"__import__", "import_module", "namedAny", "namedModule", "namedObject"}

# What the server runs, and what it must never be able to use.
BLIND_MODULES = {
    "porttunnel.net.mqtt_broker",
    "porttunnel.gateway.event",
    "porttunnel.gateway.part",
    "porttunnel.gateway.policy",
    "porttunnel.gateway.setup_claim",
    "porttunnel.gateway.topic",
    "porttunnel.net.tunnel_server",
    "porttunnel.services.broker",
    "porttunnel.services.server",
    "porttunnel.session.directory",
    "porttunnel.session.relay",
}
BLIND_PACKAGES = ("porttunnel.net.store", "porttunnel.net.gateway.")
DECRYPTING_MODULES = {
    "porttunnel.keys.envelope",
    "porttunnel.keys.handshake",
    "porttunnel.keys.sealing",
}


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph(find_modules(ROOT, "porttunnel"))


def part_of(module: str) -> str:
    """``porttunnel.net.carriers.tcp`` → ``net``; the package itself → an empty string."""
    return module.partition(".")[2].partition(".")[0]


def is_pure(module: str) -> bool:
    return part_of(module) in PURE


def border_crossings(graph: ImportGraph) -> list[str]:
    return [
        f"{module} imports {name}"
        for module in graph.modules
        for name in sorted(graph.inner(module))
        if part_of(name)
        and part_of(name) != part_of(module)
        and part_of(name) not in MAY_IMPORT[part_of(module)]
    ]


def impurities(graph: ImportGraph, module: str) -> list[str]:
    exceptions = PURE_EXCEPTIONS.get(module, {})
    # `cryptography` has a test of its own.
    outside = graph.outer(module) - PURE_MAY_USE - {"cryptography"} - set(exceptions)
    found = [f"imports {name}" for name in sorted(outside)]
    for node in ast.walk(graph.trees[module]):
        match node:
            case ast.Name(id=name) if name in IMPURE_BUILTINS:
                found.append(f"line {node.lineno} uses {name}")
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                if name in exceptions and attribute not in exceptions[name]:
                    found.append(f"line {node.lineno} uses {name}.{attribute}")
            case ast.ImportFrom(module=name) if name in exceptions:
                found.append(f"line {node.lineno} imports from {name}")
    return found


def dynamic_imports(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in DYNAMIC_IMPORTS)
        or (isinstance(node, ast.Attribute) and node.attr in DYNAMIC_IMPORTS)
    ]


def test_each_part_imports_only_what_stands_above_it(graph: ImportGraph) -> None:
    assert {part_of(module) for module in graph.modules} - {""} <= set(MAY_IMPORT)
    assert border_crossings(graph) == []


def test_pure_modules_use_no_clock_network_chance_log_or_environment(graph: ImportGraph) -> None:
    assert {m: impurities(graph, m) for m in graph.modules if is_pure(m)} == {
        m: [] for m in graph.modules if is_pure(m)
    }


def test_only_the_shells_import_twisted(graph: ImportGraph) -> None:
    importers = {m for m in graph.modules if graph.outer(m) & {"twisted", "zope"}}
    assert {part_of(m) for m in importers} <= {"net", "services", "cli"}


def test_cryptography_has_one_door_and_one_for_certificates(graph: ImportGraph) -> None:
    importers = {m for m in graph.modules if "cryptography" in graph.outer(m)}
    assert importers <= CRYPTOGRAPHY_IMPORTERS


def test_package_files_import_nothing(graph: ImportGraph) -> None:
    packages = [m for m, path in graph.modules.items() if path.name == "__init__.py"]
    assert packages
    assert {m: graph.inner(m) | graph.outer(m) for m in packages} == {m: set() for m in packages}


def test_no_import_hides_in_a_string(graph: ImportGraph) -> None:
    assert {m: lines for m, t in graph.trees.items() if (lines := dynamic_imports(t))} == {}


def test_the_server_cannot_decrypt(graph: ImportGraph) -> None:
    starts = BLIND_MODULES | {m for m in graph.modules if m.startswith(BLIND_PACKAGES)}
    assert starts <= set(graph.modules), "a module of the server has moved: name it here"
    assert set(graph.modules) >= DECRYPTING_MODULES, "a decrypting module has moved"
    paths = graph.reach(starts)
    assert {m: " → ".join(paths[m]) for m in DECRYPTING_MODULES & set(paths)} == {}


def test_the_members_can_decrypt(graph: ImportGraph) -> None:
    """The control of the test above: the walk does find such paths where they belong."""
    for member in ("porttunnel.net.master", "porttunnel.net.client"):
        assert set(graph.reach([member])) >= {
            "porttunnel.keys.handshake",
            "porttunnel.keys.sealing",
        }
    for end in ("porttunnel.gateway.device_exchange", "porttunnel.gateway.instance_exchange"):
        assert "porttunnel.keys.envelope" in graph.reach([end])


@pytest.mark.parametrize("name", ["porttunnel_services", "porttunnel_endpoints"])
def test_plugins_are_light(name: str) -> None:
    tree = ast.parse((ROOT / "twisted" / "plugins" / f"{name}.py").read_text(encoding="utf-8"))
    heavy = {
        imported
        for imported in module_level_imports(tree)
        if imported.partition(".")[0] not in {"__future__", "typing", "twisted", "zope"}
    }
    assert heavy == set()


def test_loading_the_plugins_loads_nothing_of_ours() -> None:
    script = (
        "import sys\n"
        "import twisted.plugins.porttunnel_services, twisted.plugins.porttunnel_endpoints\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in\n"
        "      {'porttunnel', 'cryptography', 'OpenSSL', 'autobahn', 'msgspec'}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


class TestTheWalkItself:
    """On a small package with every fault in it, so that a blind walk can't pass."""

    @pytest.fixture
    def faulty(self, tmp_path: Path) -> ImportGraph:
        sources = {
            "__init__": "",
            "errors": "import os\n",
            "keys/__init__": "",
            "keys/sealing": "from porttunnel import session\n",
            "keys/secret_holder": (
                "import os\nos.register_at_fork()\nos.getpid()\nfrom os import environ\n"
            ),
            "session/__init__": "import porttunnel.keys.sealing\n",
            "session/relay": "def late():\n    import porttunnel.net.driver as d\n",
            "net/__init__": "",
            "net/driver": "from porttunnel.keys import sealing\nprint(__import__('socket'))\n",
        }
        for name, source in sources.items():
            path = tmp_path / "porttunnel" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return ImportGraph(find_modules(tmp_path, "porttunnel"))

    def test_finds_border_crossings(self, faulty: ImportGraph) -> None:
        assert border_crossings(faulty) == [
            "porttunnel.keys.sealing imports porttunnel.session",
            "porttunnel.session.relay imports porttunnel.net.driver",
        ]

    def test_finds_impurities(self, faulty: ImportGraph) -> None:
        assert impurities(faulty, "porttunnel.errors") == ["imports os"]
        assert impurities(faulty, "porttunnel.net.driver") == ["line 2 uses print"]
        assert sorted(impurities(faulty, "porttunnel.keys.secret_holder")) == [
            "line 3 uses os.getpid",
            "line 4 imports from os",
        ]

    def test_finds_dynamic_imports(self, faulty: ImportGraph) -> None:
        assert dynamic_imports(faulty.trees["porttunnel.net.driver"]) == [2]

    def test_follows_imports_in_functions_and_in_package_files(self, faulty: ImportGraph) -> None:
        paths = faulty.reach(["porttunnel.session.relay"])
        assert paths["porttunnel.keys.sealing"] == (
            "porttunnel.session.relay",
            "porttunnel.net.driver",
            "porttunnel.keys.sealing",
        )

    def test_knows_what_is_imported_at_module_level(self) -> None:
        tree = ast.parse("import a\nif a:\n    import b\ndef f():\n    import c\n")
        assert module_level_imports(tree) == {"a", "b"}
