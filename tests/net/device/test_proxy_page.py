"""porttunnel.net.device.proxy_page: what happened, what may have been done, what to do."""

from __future__ import annotations

import pytest

from porttunnel.errors import (
    ClientStopped,
    DeviceRevoked,
    PorttunnelError,
    RequestFailureCode,
    RequestNotExecuted,
    RequestUncertain,
)
from porttunnel.net.device.proxy_page import (
    ProxyPage,
    page_of_error,
    page_of_fault,
    page_of_objection,
)
from porttunnel.net.device.proxy_rule import Objection

CODES = RequestFailureCode
HAPPENED = "It <did> not work."


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RequestNotExecuted(HAPPENED, CODES.NOT_CONNECTED), 502),
        (RequestNotExecuted(HAPPENED, CODES.REFUSED), 503),
        (RequestNotExecuted(HAPPENED, CODES.WAITING), 403),
        (RequestUncertain(HAPPENED, CODES.INSTANCE_OFFLINE), 502),
        (RequestUncertain(HAPPENED, CODES.BUSY), 503),
        (RequestUncertain(HAPPENED, CODES.TIMED_OUT), 504),
        (RequestUncertain(HAPPENED, CODES.REVOKED), 403),
        (DeviceRevoked(HAPPENED), 403),
        (ClientStopped(HAPPENED), 502),
    ],
)
def test_an_error_is_told_in_its_own_words(error: PorttunnelError, status: int) -> None:
    page = page_of_error(error)
    assert (page.status, page.sentences) == (status, (HAPPENED,))


def test_objections() -> None:
    statuses = {each: page_of_objection(each).status for each in Objection}
    assert statuses == {Objection.FOREIGN_HOST: 421, Objection.FOREIGN_PAGE: 403}


def test_faults() -> None:
    assert "too long" in page_of_fault(431).sentences[0]
    assert "no request" in page_of_fault(400).sentences[0]
    assert page_of_fault(400, "It is odd.").sentences[0] == "It is odd."


def test_a_browser_gets_html_that_is_only_text() -> None:
    error = RequestNotExecuted(HAPPENED, CODES.BROKEN)
    head, content = page_of_error(error).encode(b"text/HTML, */*;q=0.8")
    fields = dict(head.fields)
    assert fields[b"content-type"] == b"text/html; charset=utf-8"
    assert fields[b"content-length"] == b"%d" % len(content)
    assert fields[b"cache-control"] == b"no-store"
    assert b"<h1>502 Bad Gateway</h1>" in content
    assert b"<p>It &lt;did&gt; not work.</p>" in content


def test_a_program_gets_plain_text() -> None:
    page = ProxyPage(page_of_fault(400).status, ("One.", "Two."), ((b"a", b"b"),))
    head, content = page.encode(b"*/*")
    assert dict(head.fields)[b"content-type"] == b"text/plain; charset=utf-8"
    assert head.fields[-1] == (b"a", b"b")
    assert content == b"One.\nTwo.\n"
