"""Whether a figure grows, and how fast."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Growth"]

SECONDS_OF_A_MINUTE = 60.0
MIN_SAMPLES = 5


class Growth:
    """A figure over time, of a program that is started anew now and then.

    :param warm_up_seconds: of each process, which don't count.
    :ivar peak: the largest, warm or not.
    """

    def __init__(self, warm_up_seconds: float) -> None:
        self._warm_up_seconds = warm_up_seconds
        self._begun: dict[int, float] = {}
        self._samples: dict[int, list[tuple[float, float]]] = {}
        self.peak = 0.0

    def add(self, pid: int, seconds: float, value: float) -> None:
        begun = self._begun.setdefault(pid, seconds)
        self.peak = max(self.peak, value)
        if seconds - begun >= self._warm_up_seconds:
            self._samples.setdefault(pid, []).append((seconds, value))

    @property
    def sample_count(self) -> int:
        return sum(map(len, self._samples.values()))

    @property
    def per_minute(self) -> float | None:
        """The slope of the least squares, with a constant of its own for each process; None if
        none of them ran for long enough.
        """
        up = down = 0.0
        for samples in self._samples.values():
            if len(samples) < MIN_SAMPLES:
                continue
            mean_at = _mean(at for at, _ in samples)
            mean_value = _mean(value for _, value in samples)
            up += sum((at - mean_at) * (value - mean_value) for at, value in samples)
            down += sum((at - mean_at) ** 2 for at, _ in samples)
        return up / down * SECONDS_OF_A_MINUTE if down else None


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
