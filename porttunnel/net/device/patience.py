"""How long a device waits for what, and how often it tries again by itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Patience"]

CONNECT_SECONDS = 15.0  # a gateway that is started anew is back by then
ANSWER_SECONDS = 300.0  # a web system that makes a large report
SILENCE_SECONDS = 300.0  # within a body; those that are silent longer say something now and then
PROBE_SECONDS = 15.0  # hints get lost with connections: then ask whether the other side is there

# Between two tries: at first nobody notices, and an agent that is started anew is back in time.
RETRY_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds.

    :ivar connect: that a request waits for a connection to the gateway.
    :ivar answer: until the head of the response.
    :ivar silence: between two signs of life in a body. A tunnel (CONNECT) may be silent for ever.
    :ivar probe: of silence until the other side is asked for a sign, and between two such.
    :ivar retries: before each further try at what may be tried again.
    """

    connect: float = CONNECT_SECONDS
    answer: float = ANSWER_SECONDS
    silence: float = SILENCE_SECONDS
    probe: float = PROBE_SECONDS
    retries: tuple[float, ...] = RETRY_SECONDS
