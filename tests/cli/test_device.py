"""`porttunnel device` as it is read; what needs no gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from porttunnel.cli import device as device_module
from porttunnel.cli.device import device
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode

CODE = PairingCode("https://gw.example.com", bytes(16), bytes(32), WEB_PKI, expires=9).format()
SECRET = CODE[-92:]
_PROGRAM = (sys.executable, "-m", "porttunnel.cli", "device")
COMMANDS = ("get", "list", "pair", "request", "revoke", "serve")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(device, arguments)


def words_of(result: Result) -> str:
    return " ".join(result.output.split())


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_reads_like_a_page_with_examples(self, command: str) -> None:
        result = run(command, "--help")
        assert result.exit_code == 0
        assert f"\n    porttunnel device {command}" in result.output
        assert "--data-dir" in result.output
        assert "--json" in result.output

    def test_names_every_command_in_whole_lines(self) -> None:
        result = run("--help")
        assert set(COMMANDS) == set(device.commands)
        assert "...\n" not in result.output.partition("Commands:")[2]
        for command in COMMANDS:
            assert f"\n  {command} " in result.output

    def test_explains_every_option(self) -> None:
        for command in device.commands.values():
            options = [each for each in command.params if isinstance(each, click.Option)]
            assert [option.name for option in options if not option.help] == []


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("pair", "missing.png"), "missing.png can't be read"),
            (("pair", "--json"), "give IMAGE, or -"),
            (("pair", "--name", "a\n"), "can be printed"),
            (("pair", "--name", "a" * 65), "1 to 64 characters"),
            (("get",), "Missing argument 'PATH'"),
            (("get", "no-slash"), "A path begins with /"),
            (("get", "/", "--json"), "add --output FILE"),
            (("get", "/", "--output", "/"), "is a directory"),
            (("request", "GET", "/", "--field", "accept"), "is no field"),
            (("serve", "--port", "65536"), "65535"),
            (("revoke", "--json"), "add --yes"),
            (("fly",), "No such command"),
        ],
    )
    def test_is_exit_code_2_and_says_what_is_right(
        self, arguments: tuple[str, ...], words: str
    ) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert words in words_of(result)

    @pytest.mark.parametrize("arguments", [("pair", CODE), ("pair", CODE, "--json")])
    def test_a_secret_argument_is_refused_and_not_repeated(
        self, arguments: tuple[str, ...]
    ) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert "must not be an argument" in words_of(result)
        assert SECRET not in result.output

    def test_by_programs_is_an_event(self) -> None:
        result = run("get", "no-slash", "--json", "--output", "file")
        assert (result.exit_code, result.stderr) == (2, "")
        event = json.loads(result.stdout)
        assert (event["event"], event["code"]) == ("error", "configuration")


class TestWithoutPairings:
    """In processes of their own, as a reactor runs only once."""

    def run(self, folder: Path, *arguments: str, given: str = "") -> tuple[int, str]:
        ran = subprocess.run(
            [*_PROGRAM, *arguments, "--data-dir", str(folder)],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stdout

    def test_the_list_says_how_to_begin(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, "list") == (
            0,
            "This machine is paired with nothing yet. Use: porttunnel device pair\n",
        )

    @pytest.mark.parametrize("arguments", [("serve",), ("get", "/"), ("revoke", "--yes")])
    def test_everything_else_fails(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        exit_code, output = self.run(tmp_path, *arguments)
        assert exit_code == 2
        assert output.endswith("Use: porttunnel device pair\n")

    def test_a_code_that_has_expired_is_told(self, tmp_path: Path) -> None:
        exit_code, output = self.run(tmp_path, "pair", "-", "--json", given=f"{CODE}\n")
        assert exit_code == 1
        assert json.loads(output)["code"] == "pairing-failed"
        assert "expired" in output
        assert SECRET not in output

    def test_no_code_at_all(self, tmp_path: Path) -> None:
        exit_code, output = self.run(tmp_path, "pair", "-")
        assert exit_code == 2
        assert "Standard input ended" in output


def test_a_picture_goes_before_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read(path: Path) -> str:
        seen.append(path)
        return CODE

    def run_program(command: object, *, as_json: bool, data_dir: Path | None) -> int:
        seen.append((as_json, data_dir))
        return 0

    seen: list[object] = []
    monkeypatch.setattr(device_module, "read_pairing_image", read)
    monkeypatch.setattr(device_module, "run_device_program", run_program)
    assert run("pair", "photo.png", "--data-dir", str(tmp_path)).exit_code == 0
    assert seen == [Path("photo.png"), (False, tmp_path)]
