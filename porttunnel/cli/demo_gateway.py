"""The demo's wiki behind a firewall, and the device that reads it through the gateway."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort

from porttunnel.cli import demo_text as text
from porttunnel.cli.child import ChildFailed
from porttunnel.cli.demo_stage import ANY_LOOPBACK_PORT, Stage
from porttunnel.cli.demo_wiki import make_wiki_site

__all__ = ["GatewayPart"]

USER = "Anna"
PRIVATE_PAGE = "annas-page"
PROBE_PAGE = "from-the-device"
AGENT_DATA = "agent"
DEVICE_DATA = "device"


class GatewayPart:
    """A wiki, an agent, a device.

    :param stage: where it plays.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._wiki: IListeningPort | None = None

    async def start(self, gateway: str) -> str:
        """Start everything, use the wiki; its address for a browser.

        :param gateway: its URL.
        :raises ChildFailed: something did not work; the message says what.
        """
        wiki = await self._open_wiki()
        await self._start_agent(gateway, wiki)
        await self._pair()
        self._stage.say(text.SERVE)
        serving = self._stage.start_command("device", "serve", "--json", data=DEVICE_DATA)
        url: str = (await serving.event("listening"))["url"]
        await self._check(url.rstrip("/"), wiki)
        return url

    async def stop(self) -> None:
        """Close what isn't a program of its own."""
        if self._wiki is not None:
            await maybeDeferred(self._wiki.stopListening)

    async def _open_wiki(self) -> str:
        self._stage.say(text.WIKI)
        endpoint = serverFromString(self._stage.reactor, ANY_LOOPBACK_PORT)
        port = self._wiki = await endpoint.listen(make_wiki_site({PRIVATE_PAGE: USER}))
        host: Any = port.getHost()
        url = f"http://127.0.0.1:{host.port}"
        self._stage.say(text.WIKI_ADDRESS.format(url=url))
        return url

    async def _start_agent(self, gateway: str, wiki: str) -> None:
        self._stage.say(text.AGENT)
        agent = self._stage.start_service(
            "porttunnel-agent", "--gateway", gateway, "--upstream", wiki, data=AGENT_DATA
        )
        await agent.line("connected ")

    async def _pair(self) -> None:
        stage = self._stage
        stage.say(text.PAIR.format(user=USER))
        inviting = stage.start_command(
            *("instance", "invite", "--user", USER, "--json"), data=AGENT_DATA, lasting=False
        )
        invitation = await inviting.event("invitation")
        stage.say(text.PAIR_DEVICE)
        pairing = stage.start_command(
            "device", "pair", "-", "--json", data=DEVICE_DATA, lasting=False
        )
        pairing.send(invitation["code"])
        digits = (await pairing.event("digits"))["digits"]
        await inviting.event("digits-asked")
        inviting.send(f'{{"digits": "{digits}"}}')
        await pairing.event("paired")
        stage.say(text.DIGITS.format(digits=f"{digits[:3]} {digits[3:]}", user=USER))

    async def _check(self, served: str, wiki: str) -> None:
        written = "A page that came from the device."
        form = urlencode({"content": written}).encode()
        _, start = await self._stage.fetch(f"{served}/")
        if USER not in start.decode():
            raise ChildFailed(text.WIKI_DIFFERENT.format(what=f"it does not see {USER}"))
        await self._stage.fetch(f"{served}/{PROBE_PAGE}", form)
        _, page = await self._stage.fetch(f"{wiki}/{PROBE_PAGE}")
        if written not in page.decode():
            raise ChildFailed(text.WIKI_DIFFERENT.format(what="a page was not saved"))
        seen, _ = await self._stage.fetch(f"{served}/{PRIVATE_PAGE}")
        unseen, _ = await self._stage.fetch(f"{wiki}/{PRIVATE_PAGE}")
        if (seen, unseen) != (200, 403):
            raise ChildFailed(text.WIKI_DIFFERENT.format(what="it mixes up its users"))
        self._stage.say(text.WIKI_CHECKED.format(user=USER))
