"""The agent's settings: defaults, then the file, then the command line."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from porttunnel.errors import ConfigurationError
from porttunnel.gateway.forward_identity import UserCredentials
from porttunnel.net.instance.upstream_setting import UpstreamSettings
from porttunnel.services.agent_config import (
    AgentSettings,
    PushSettings,
    SessionSettings,
    load_settings,
)

GATEWAY = {"gateway": "https://gateway.example", "upstream": "http://127.0.0.1:8080"}
MINIMUM = 'gateway = "https://gateway.example"\n[upstream]\norigin = "http://127.0.0.1:8080"\n'


def write(folder: Path, text: str, name: str = "agent.toml", mode: int = 0o644) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def load(folder: Path, text: str, **said: Any) -> AgentSettings:
    return load_settings(write(folder, text), said)


def test_a_gateway_and_a_web_system_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTTUNNEL_DATA", "/data")
    settings = load_settings(None, GATEWAY)
    assert settings == AgentSettings(
        gateway="https://gateway.example",
        upstream=UpstreamSettings(origin="http://127.0.0.1:8080"),
    )
    assert settings.data_path == Path("/data")
    assert settings.push_socket == Path("/data/push.sock")
    assert settings.push_token_path == Path("/data/push.token")
    assert not settings.has_admin
    assert not settings.has_session
    assert settings.read_registration_token() is None


def test_a_session_alone_suffices() -> None:
    settings = load_settings(None, {"server": "tcp:127.0.0.1:1", "offers": ("web=8000",)})
    assert settings.upstream is None
    assert settings.has_session
    assert settings.session == SessionSettings(server="tcp:127.0.0.1:1", offers=("web=8000",))
    assert settings.session.accept == "nobody"


def test_the_file_says_everything(tmp_path: Path) -> None:
    users = write(tmp_path, '[anna]\nlogin = "a"\npassword = "s3cret"\n', "users", mode=0o600)
    assert users
    settings = load(
        tmp_path,
        """
        gateway = "https://gateway.example"
        registration_token_file = "token"
        data_dir = "/srv/agent"
        admin = "tcp:1:interface=127.0.0.1"
        [upstream]
        origin = "https://wiki.internal"
        paths = ["/wiki"]
        users_file = "users"
        [push]
        socket = "run/push.sock"
        socket_mode = 0o660
        port = 0
        token_file = "/etc/push.token"
        [session]
        server = "ptuns://tunnel.example"
        offers = ["web=8000", "tcp:10.0.0.7:22"]
        accept = "all"
        name = "wiki"
        direct = true
        remember = true
        """,
    )
    assert settings == AgentSettings(
        gateway="https://gateway.example",
        registration_token_file=str(tmp_path / "token"),
        data_dir="/srv/agent",
        admin="tcp:1:interface=127.0.0.1",
        upstream=UpstreamSettings(
            origin="https://wiki.internal",
            paths=("/wiki",),
            users={"anna": UserCredentials(login="a", password="s3cret")},
        ),
        push=PushSettings(
            socket=str(tmp_path / "run/push.sock"),
            socket_mode=0o660,
            port=0,
            token_file="/etc/push.token",
        ),
        session=SessionSettings(
            server="ptuns://tunnel.example",
            offers=("web=8000", "tcp:10.0.0.7:22"),
            accept="all",
            name="wiki",
            direct=True,
            remember=True,
        ),
    )
    assert settings.has_admin
    assert settings.push_socket == tmp_path / "run/push.sock"
    assert settings.push_token_path == Path("/etc/push.token")
    assert "s3cret" not in repr(settings)


def test_a_data_folder_counts_from_where_it_was_said(tmp_path: Path) -> None:
    text = f'data_dir = "state"\n{MINIMUM}'
    assert load(tmp_path, text).data_path == tmp_path / "state"
    assert load(tmp_path, text, data_dir="other").data_path == Path("other")


def test_the_command_line_wins(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        MINIMUM + '[push]\nsocket = "off"\n[session]\nserver = "tcp:1"\noffers = ["1"]\n',
        gateway="https://other.example",
        upstream="unix:/run/wiki.sock",
        data_dir="/other",
        admin="off",
        server="tcp:h:2",
        offers=("2", "3"),
        accept="all",
    )
    assert settings.gateway == "https://other.example"
    assert settings.upstream == UpstreamSettings(origin="unix:/run/wiki.sock")
    assert settings.data_path == Path("/other")
    assert settings.admin == "off"
    assert settings.push_socket is None
    assert settings.session == SessionSettings(server="tcp:h:2", offers=("2", "3"), accept="all")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing to do"),
        ('gateway = "https://gateway.example"', "which web system"),
        ('gateway = "ftp://x"\n[upstream]\norigin = "http://x"', "gateway's address"),
        ('[upstream]\norigin = "http://x"', "needs a gateway"),
        ('gateway = "https://gateway.example"\n[upstream]\npaths = ["/"]', "origin"),
        ('gateway = "https://gateway.example"\n[upstream]\norigin = "x"', "no address of a web"),
        (MINIMUM + 'identity_header = "a b"', "no name of a field"),
        (MINIMUM + 'colour = "red"', "colour"),
        (MINIMUM + "[colour]\nred = 1", "colour"),
        (MINIMUM + "[push]\nport = 65536", "port"),
        (MINIMUM + "[push]\nsocket_mode = 0o1777", "socket_mode"),
        (MINIMUM + '[session]\nserver = "tcp:h:1"', "what shall be shared"),
        (MINIMUM + '[session]\noffers = ["8000"]', "needs a tunnel server"),
        (MINIMUM + '[session]\nserver = "tcp:h:1"\noffers = ["a=b=c"]', "b=c"),
        (MINIMUM + '[session]\nserver = "tcp:h:1"\noffers = ["a=1", "a=2"]', "another NAME="),
        (MINIMUM + '[session]\nserver = "x"\noffers = ["1"]\naccept = "some"', "some"),
        (MINIMUM + f'[session]\nserver = "x"\noffers = ["1"]\nname = "{"x" * 65}"', "<= 64"),
        ('upstream = "http://x"', "Expected `object`"),
        (MINIMUM + "users_file = 1", "Expected `str`"),
        (MINIMUM + 'users_file = "none"', "can't be read"),
        (MINIMUM + 'users_file = "x"\n[upstream.users.anna]\npassword = "p"', "leave one of them"),
    ],
)
def test_what_is_no_agent(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        load(tmp_path, text)


def test_a_wrong_flag_is_no_fault_of_a_file() -> None:
    said = {"server": "tcp:h:1", "offers": ("1",), "accept": "some"}
    with pytest.raises(ConfigurationError, match=r"^the command line: "):
        load_settings(None, said)


class TestSecrets:
    def test_passwords_are_for_their_owner_alone(self, tmp_path: Path) -> None:
        text = MINIMUM + '[upstream.users.anna]\npassword = "p"\n'
        with pytest.raises(ConfigurationError, match="holds passwords and others may read it"):
            load(tmp_path, text)
        config = write(tmp_path, text, mode=0o600)
        upstream = load_settings(config, {}).upstream
        assert upstream is not None
        assert upstream.users == {"anna": UserCredentials(password="p")}

    def test_so_are_those_in_a_file_of_their_own(self, tmp_path: Path) -> None:
        write(tmp_path, '[anna]\npassword = "p"\n', "users")
        with pytest.raises(ConfigurationError, match=r"chmod 600 .*users"):
            load(tmp_path, MINIMUM + 'users_file = "users"')

    @pytest.mark.parametrize("content", ["[anna]\nsecret = 1", "anna = 1", "anna = "])
    def test_a_file_of_users_that_is_none(self, tmp_path: Path, content: str) -> None:
        write(tmp_path, content, "users", mode=0o600)
        with pytest.raises(ConfigurationError, match=r"users.*correct the file"):
            load(tmp_path, MINIMUM + 'users_file = "users"')

    def token(self, folder: Path, content: bytes, mode: int = 0o600) -> str | None:
        path = folder / "token"
        path.write_bytes(content)
        path.chmod(mode)
        text = f'registration_token_file = "token"\n{MINIMUM}'
        return load(folder, text).read_registration_token()

    def test_the_token_of_the_gateway_s_operator(self, tmp_path: Path) -> None:
        assert self.token(tmp_path, b"t0ken\n") == "t0ken"
        with pytest.raises(ConfigurationError, match="holds a token and others may read it"):
            self.token(tmp_path, b"t0ken\n", mode=0o640)

    @pytest.mark.parametrize("content", [b"", b"\n", b"two words", "tökén".encode(), b"\xff"])
    def test_a_file_without_a_token(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(ConfigurationError, match=r"token (holds no token|can't be read)"):
            self.token(tmp_path, content)

    def test_a_token_that_is_not_there(self, tmp_path: Path) -> None:
        settings = load(tmp_path, f'registration_token_file = "none"\n{MINIMUM}')
        with pytest.raises(ConfigurationError, match="none can't be read"):
            settings.read_registration_token()


DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["agent", "wiki"])
def test_what_the_pages_show_is_right(tmp_path: Path, page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = [dedent(each.split("```")[0]) for each in re.split(r" *```toml\n", text)[1:]]
    users = next(each for each in blocks if "[ben]" in each)
    write(tmp_path, users, "users.toml", mode=0o600)
    settings = load(tmp_path, next(each for each in blocks if "[upstream]" in each))
    assert settings.upstream is not None
    assert settings.upstream.users.keys() == {"anna", "ben"}
