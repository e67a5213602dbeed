"""How fast programs grow."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Growth"]

KIB = 1024
SECONDS_OF_A_MINUTE = 60.0
MIN_SAMPLES = 5


class Growth:
    """Resident bytes over time, of a program that is started anew now and then.

    :param warm_up_seconds: of each process, which don't count.
    """

    def __init__(self, warm_up_seconds: float) -> None:
        self._warm_up_seconds = warm_up_seconds
        self._begun: dict[int, float] = {}
        self._samples: dict[int, list[tuple[float, int]]] = {}
        self.peak_kib = 0.0

    def add(self, pid: int, seconds: float, resident_bytes: int) -> None:
        begun = self._begun.setdefault(pid, seconds)
        self.peak_kib = max(self.peak_kib, resident_bytes / KIB)
        if seconds - begun >= self._warm_up_seconds:
            self._samples.setdefault(pid, []).append((seconds, resident_bytes))

    @property
    def sample_count(self) -> int:
        return sum(map(len, self._samples.values()))

    @property
    def kib_per_minute(self) -> float | None:
        """The slope of the least squares, with a constant of its own for each process; None if
        none of them ran for long enough.
        """
        up = down = 0.0
        for samples in self._samples.values():
            if len(samples) < MIN_SAMPLES:
                continue
            mean_at = _mean(at for at, _ in samples)
            mean_used = _mean(used for _, used in samples)
            up += sum((at - mean_at) * (used - mean_used) for at, used in samples)
            down += sum((at - mean_at) ** 2 for at, _ in samples)
        return up / down / KIB * SECONDS_OF_A_MINUTE if down else None


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
