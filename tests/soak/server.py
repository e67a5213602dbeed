"""``python -m twisted`` with one thing more: garbage in cycles is collected every few seconds.

Python itself does that so seldom that what waits for it would look like growth.
"""

from __future__ import annotations

import gc
import runpy

from twisted.internet.task import LoopingCall

COLLECT_SECONDS = 5.0


if __name__ == "__main__":
    LoopingCall(gc.collect).start(COLLECT_SECONDS, now=False)
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)
