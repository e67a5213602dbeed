"""How many connections the operating system lets this process have."""

from __future__ import annotations

import sys

from twisted.logger import Logger

if sys.platform != "win32":
    import resource

__all__ = ["allow_open_files"]

_log = Logger()


def allow_open_files(count: int) -> None:
    """Raise this process's own limit to ``count``, as far as it may; say so if that is less."""
    if sys.platform == "win32":
        return  # it has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):
        allowed = soft  # macOS has another limit below the hard one, which this does not tell
    if allowed < count:
        _log.warn(
            "this process may have {allowed} files and connections open, {count} would be "
            "needed; raise the limit (LimitNOFILE= in systemd) or lower [limits] connections",
            allowed=allowed,
            count=count,
        )
