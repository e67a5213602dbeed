"""The command line as it is read; nothing here starts a reactor."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

import porttunnel
from porttunnel.cli import join as join_module
from porttunnel.cli import share as share_module
from porttunnel.cli.exit_code import ExitCode
from porttunnel.cli.main import cli, main

CODE = "4821 3604 2197"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=environment)


def words_of(result: Result) -> str:
    return " ".join(result.output.split())


def every_command(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Those that do something, with their words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def json_help(command: click.Command) -> str:
    (help_text,) = [
        str(each.help)
        for each in command.params
        if isinstance(each, click.Option) and each.name == "as_json"
    ] or [""]
    return help_text


class TestHelp:
    @pytest.mark.parametrize("command", ["share", "join", "demo"])
    def test_reads_like_a_page_with_examples(self, command: str) -> None:
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Examples:" in result.output
        assert "--data-dir" in result.output

    def test_names_every_command(self) -> None:
        result = run("--help")
        for command in ("share", "join", "demo", "device", "instance"):
            assert f"\n  {command} " in result.output

    def test_explains_every_option(self) -> None:
        for name in cli.list_commands(click.Context(cli)):
            command = cli.get_command(click.Context(cli), name)
            assert command is not None
            options = [each for each in command.params if isinstance(each, click.Option)]
            assert [option.name for option in options if not option.help] == []

    def test_json_is_taken_by_commands_that_ask_something(self) -> None:
        found = {path for path, command in every_command(cli) if "both ways" in json_help(command)}
        assert found == {"share", "join", "instance invite", "instance confirm"}

    def test_version(self) -> None:
        assert porttunnel.__version__ in run("--version").output


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("share",), "Missing argument"),
            (("share", "--broadcast-stdin"), "Add --yes"),
            (("share", "--broadcast-stdin", "--json"), "Add --yes"),
            (("share", "--broadcast-stdin", "--yes", "--sas"), "leave --sas out"),
            (("share", "nonsense"), "is nothing to share"),
            (("share", "8000", "--color"), "No such option"),
            (("join", "--forward", "web"), "such as 8080=web"),
            (("join", "--socks", "65536"), "65535"),
            (("join", "--code", "1234"), "Only - is possible"),
            (("join", "48213", "--code", "-"), "not two of them"),
            (("join", "--json"), "--code -"),
            (("demo", "--seconds", "soon"), "not a valid float"),
            (("fly",), "No such command"),
        ],
    )
    def test_is_exit_code_2_and_says_what_is_right(
        self, arguments: tuple[str, ...], words: str
    ) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert words in words_of(result)

    @pytest.mark.parametrize("code", [CODE, "porttunnel:48213#ABCDEFGHIJKLMNOPQRSTUVWXYA", "12"])
    def test_a_secret_argument_is_refused_and_not_repeated(self, code: str) -> None:
        result = run("join", code)
        assert result.exit_code == 2
        assert "must not be an argument" in words_of(result)
        assert code[-6:] not in result.output

    def test_a_mistyped_code_in_the_environment_is_found_at_once(self) -> None:
        result = run("join", PORTTUNNEL_CODE="4821 3604 2198")
        assert result.exit_code == 2
        assert "a digit is wrong" in words_of(result)

    def test_a_broken_configuration_is_named(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("data")
        (folder / "config.toml").write_text("server")
        for arguments in (("share", "8000"), ("join", "48213")):
            result = run(*arguments, "--data-dir", str(folder))
            assert result.exit_code == 2
            assert "config.toml" in words_of(result)


class TestWrongUseByPrograms:
    """With `--json` it is an event like every other error."""

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("share", "--json"), "usage", "Missing argument"),
            (("share", "8000", "--json", "--color"), "usage", "No such option"),
            (("share", "--json", "nonsense"), "configuration", "is nothing to share"),
            (("share", "--json", "8000", "--data-dir", __file__), "usage", "is a file"),
            (("join", "--json"), "usage", "--code -"),
            (("join", "--json", "--code", "1234"), "usage", "Only - is possible"),
            (("join", "--forward", "web", "--json"), "usage", "such as 8080=web"),
            (("join", CODE, "--json"), "usage", "must not be an argument"),
        ],
    )
    def test_is_an_event(self, arguments: tuple[str, ...], code: str, words: str) -> None:
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (2, "")
        (line,) = result.stdout.splitlines()
        event = json.loads(line)
        assert (event["event"], event["code"]) == ("error", code)
        assert words in event["text"]
        assert CODE not in line

    def test_of_the_environment_is_an_event(self) -> None:
        result = run("join", "--json", PORTTUNNEL_CODE="4821 3604 2198")
        assert (result.exit_code, result.stderr) == (2, "")
        assert json.loads(result.stdout)["code"] == "mistyped-code"

    def test_reaches_the_shell(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["porttunnel", "join", "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        captured = capsys.readouterr()
        assert json.loads(captured.out)["code"] == "usage"
        assert captured.err == ""

    @pytest.mark.parametrize(
        "arguments", [("share", "--", "--json"), ("share", "nonsense"), ("join", "--socks", "x")]
    )
    def test_stays_in_words_for_people(self, arguments: tuple[str, ...]) -> None:
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Error:" in result.stderr


class TestExitCodes:
    @pytest.mark.parametrize("exit_code", list(ExitCode))
    def test_reach_the_shell(self, monkeypatch: pytest.MonkeyPatch, exit_code: ExitCode) -> None:
        monkeypatch.setattr(share_module, "run_program", lambda command: exit_code)
        monkeypatch.setattr(sys, "argv", ["porttunnel", "share", "8000"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == exit_code

    @pytest.mark.parametrize(
        ("arguments", "exit_code"), [(["--version"], 0), (["join", "1"], 2), ([], 2)]
    )
    def test_of_click_reach_the_shell(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        exit_code: int,
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["porttunnel", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == exit_code
        captured = capsys.readouterr()
        assert captured.out or captured.err

    def test_an_abort_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def abort(command: object) -> None:
            raise click.Abort

        monkeypatch.setattr(join_module, "run_program", abort)
        monkeypatch.setattr(sys, "argv", ["porttunnel", "join", "48213"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
