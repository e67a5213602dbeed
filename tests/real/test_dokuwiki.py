"""The wiki that the gateway's tests need is the one that they think it is."""

from __future__ import annotations

import base64
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.real.dokuwiki import ADA, BEN, PASSWORDS, SECRET_WORDS, START_WORDS, DokuWiki
from tests.real.program import Start

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def wiki(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> DokuWiki:
    return DokuWiki(start_for_module, tmp_path_factory.mktemp("wiki") / "tree")


def read(wiki: DokuWiki, page: str, user: str, password: str) -> str:
    request = Request(f"{wiki.url}/doku.php?id={page}")
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    request.add_header("Authorization", f"Basic {credentials}")
    try:
        with build_opener(ProxyHandler({})).open(request) as response:
            return str(response.read().decode())
    except HTTPError as refused:
        with refused:
            return str(refused.read().decode())


def test_each_sees_what_they_may(wiki: DokuWiki) -> None:
    assert START_WORDS in read(wiki, "start", ADA, PASSWORDS[ADA])
    assert START_WORDS in read(wiki, "start", BEN, PASSWORDS[BEN])
    assert SECRET_WORDS in read(wiki, "secret:plan", ADA, PASSWORDS[ADA])
    assert SECRET_WORDS not in read(wiki, "secret:plan", BEN, PASSWORDS[BEN])


def test_a_wrong_password_is_nobody(wiki: DokuWiki) -> None:
    assert START_WORDS not in read(wiki, "start", ADA, "guessed")
