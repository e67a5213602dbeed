"""porttunnel.net.gateway.complaint"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from porttunnel.errors import ConfigurationError
from porttunnel.net.gateway.complaint import COMPLAINT_SECONDS, Complaint


def test_what_fails_for_many_is_told_once_a_minute() -> None:
    clock = Clock()
    complaint = Complaint(clock.seconds)
    full = Failure(ConfigurationError("the disk is full"))
    with capturedLogs() as logged:
        for _ in range(1_000):
            complaint.tell(full)
        assert [(each["error"], each["untold"]) for each in logged] == [(full.value, 0)]
        clock.advance(COMPLAINT_SECONDS)
        complaint.tell(full)
    assert [each["untold"] for each in logged] == [0, 999]
    assert all("log_failure" not in each for each in logged)


def test_another_error_does_not_wait_and_says_where_it_was() -> None:
    complaint = Complaint(Clock().seconds)
    mistake = Failure(ZeroDivisionError())
    with capturedLogs() as logged:
        complaint.tell(Failure(ConfigurationError("the disk is full")))
        complaint.tell(mistake)
        complaint.tell(mistake)
    assert [each.get("log_failure") for each in logged] == [None, mistake]
