"""How often somebody may come from one place, so that nobody uses up what all share."""

from __future__ import annotations

from collections import OrderedDict

from porttunnel.mqtt.token_bucket import TokenBucket

__all__ = ["PlacePace"]

MAX_PLACES = 20_000  # 300 bytes each; the one that came longest ago is forgotten first


class PlacePace:
    """See the module.

    :param per_second: from one place, on average; None: no limit.
    :param burst: how many at once before that.
    """

    def __init__(self, per_second: float | None, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, place: str, now: float) -> bool:
        """Somebody comes; whether there were not too many from there.

        :param place: :func:`~porttunnel.session.limit.prefix_of` where he comes from.
        :param now: seconds of a clock that does not go back.
        """
        if self._per_second is None:
            return True
        bucket = self._buckets.pop(place, None)
        if bucket is None:
            bucket = TokenBucket(self._per_second, self._burst, now)
        self._buckets[place] = bucket
        if len(self._buckets) > MAX_PLACES:
            self._buckets.popitem(last=False)
        return bucket.take(now)
