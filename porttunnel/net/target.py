"""Where the streams of an offered service go: a socket, a folder, a SOCKS proxy."""

from __future__ import annotations

from pathlib import Path

from twisted.web.server import Site

from porttunnel.errors import ConfigurationError
from porttunnel.net.bounded_request import BoundedRequest
from porttunnel.net.endpoints import serve_streams
from porttunnel.net.folder import Folder
from porttunnel.net.forwarding import forward_to_target
from porttunnel.net.offer import Offer
from porttunnel.net.session import Acceptor, Session
from porttunnel.net.socks import SocksFactory

__all__ = ["accept_offer"]


def accept_offer(session: Session, offer: Offer) -> Acceptor:
    """Who gets the streams to an offer with a target.

    :raises ConfigurationError: the folder, the allow-list or the address is not usable.
    """
    if offer.kind == "dir":
        folder = Path(offer.target).expanduser()
        if not folder.is_dir():
            raise ConfigurationError(f"{offer.target!r} is no folder: name one that is there.")
        # Nobody uploads anything here, and a body that is kept would fill our disk.
        site = Site(Folder(str(folder)), requestFactory=BoundedRequest)
        site.noisy = False
        return serve_streams(session, offer.name, site)
    if offer.kind == "socks":
        return serve_streams(
            session, offer.name, SocksFactory(session.reactor, offer.target.split(","))
        )
    address = f"{offer.kind}:{offer.target}"
    try:
        return forward_to_target(session, offer.name, address)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{address!r} is no place to lead to ({error}): write tcp:HOST:PORT or unix:PATH, "
            "with \\: for each colon within HOST or PATH."
        ) from error
