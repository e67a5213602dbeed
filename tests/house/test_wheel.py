"""What ships, exactly, and that twistd finds it: docs/architecture, "Packaging"."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import porttunnel

ROOT = Path(__file__).resolve().parents[2]
DIST_INFO = f"porttunnel-{porttunnel.__version__}.dist-info"
# Nor what is large or changes while the tests beside this one run.
NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "node_modules"),
    *("build", "*.egg-info", "dist", "benchmark-results"),
)


def run(*command: str | Path, cwd: Path) -> str:
    ran = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing left over from an earlier build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_COPIED)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    run(*build, "source", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has our wheel.

    The libraries come from the environment of the tests through a .pth file: no network.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    site_packages = Path(run(python, "-c", SITE_PACKAGES, cwd=folder).strip())
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    return python


SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
TWISTD_HELP = (
    "import sys; sys.argv = ['twistd', '--help']; from twisted.scripts.twistd import run; run()"
)
ENDPOINT_PREFIXES = """
from twisted.internet import interfaces
from twisted.plugin import getPlugins
import twisted.plugins.porttunnel_endpoints as ours
for interface in (
    interfaces.IStreamClientEndpointStringParserWithReactor,
    interfaces.IStreamServerEndpointStringParser,
):
    print([plugin.prefix for plugin in getPlugins(interface)].count("porttunnel"))
print(ours.__file__)
"""


def test_top_level_has_nothing_but_the_package_the_plugins_and_the_facts(names: set[str]) -> None:
    assert {name.partition("/")[0] for name in names} == {"porttunnel", "twisted", DIST_INFO}


def test_of_twisted_only_our_plugins_ship(names: set[str]) -> None:
    # With an __init__.py here pip would overwrite Twisted's own, and uninstall would delete it.
    assert {name for name in names if name.startswith("twisted/")} == {
        "twisted/plugins/porttunnel_endpoints.py",
        "twisted/plugins/porttunnel_services.py",
    }


def test_the_whole_package_ships(names: set[str]) -> None:
    present = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "porttunnel").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("porttunnel/")} == present
    assert "porttunnel/py.typed" in present


def test_the_licence_ships(names: set[str]) -> None:
    assert f"{DIST_INFO}/licenses/LICENSE" in names


def test_a_new_environment_has_our_services_in_twistd(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, "-c", TWISTD_HELP, cwd=tmp_path)
    assert "    porttunnel-server " in listed
    assert "    porttunnel-agent " in listed
    assert "    porttunnel-broker " in listed
    assert "    web " in listed


def test_a_new_environment_knows_our_endpoints(installed: Path, tmp_path: Path) -> None:
    client, server, path = run(installed, "-c", ENDPOINT_PREFIXES, cwd=tmp_path).splitlines()
    assert (client, server) == ("1", "1")
    assert Path(path).is_relative_to(installed.parents[1])
