"""A web system's cookies, kept for each device at the instance; no device ever sees one.

Source: RFC 6265, sections 5.3 and 5.4, for a single host: a jar is only ever used with the one web
system that filled it. Everything is bounded: what is used least recently goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from porttunnel.gateway.cookie import Cookie, default_path, parse_set_cookie

__all__ = ["CookieJar", "CookieShelf"]

MAX_COOKIES = 64  # of one device; browsers keep at least 50 of a host
MAX_JAR_BYTES = 16_384  # names and values; most servers refuse fields beyond 8 to 16 KiB
MAX_JARS = 10_000  # devices of one instance; 160 MiB if each has all it may have

_Key = tuple[bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Kept:
    cookie: Cookie
    path: bytes
    number: int  # in the order in which they came

    @property
    def size(self) -> int:
        return len(self.cookie.name) + len(self.cookie.value)


class CookieJar:
    """The cookies of one device.

    :param host: of the web system, in lower case, without a port.
    :param private: whether nobody can listen on the way to it: TLS, or this machine.
    """

    __slots__ = ("_host", "_kept", "_next_number", "_private", "_size")

    def __init__(self, host: bytes, *, private: bool) -> None:
        self._host = host
        self._private = private
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()  # the least recently used first
        self._next_number = 0
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """How much is kept."""
        return self._size

    def store(self, field: bytes, target: bytes, now: float) -> None:
        """Keep what a Set-Cookie says, or drop what it ends.

        :param field: the field's value.
        :param target: of the request that was answered.
        :param now: in seconds since 1970.
        """
        cookie = parse_set_cookie(field, now)
        if cookie is None or not self._is_for_host(cookie.domain):
            return
        if cookie.secure and not self._private:
            return
        path = cookie.path or default_path(target)
        key = (cookie.name, cookie.domain, path)
        former = self._drop(key)
        if cookie.expires is not None and cookie.expires <= now:
            return
        self._drop_expired(now)
        number = self._next_number if former is None else former.number
        self._next_number += former is None
        kept = self._kept[key] = _Kept(cookie, path, number)
        self._size += kept.size
        while len(self._kept) > MAX_COOKIES or self._size > MAX_JAR_BYTES:
            self._drop(next(iter(self._kept)))

    def field_for(self, target: bytes, now: float) -> bytes | None:
        """What the field Cookie says in a request, if anything.

        :param target: of the request.
        :param now: in seconds since 1970.
        """
        self._drop_expired(now)
        path = target.partition(b"?")[0]
        wanted = {key: kept for key, kept in self._kept.items() if _is_below(path, kept.path)}
        for key in wanted:
            self._kept.move_to_end(key)
        ordered = sorted(wanted.values(), key=lambda kept: (-len(kept.path), kept.number))
        return b"; ".join(kept.cookie.name + b"=" + kept.cookie.value for kept in ordered) or None

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()
        self._size = 0

    def _is_for_host(self, domain: bytes) -> bool:
        return domain in (b"", self._host) or self._host.endswith(b"." + domain)

    def _drop(self, key: _Key) -> _Kept | None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept.size
        return kept

    def _drop_expired(self, now: float) -> None:
        for key, kept in list(self._kept.items()):
            if kept.cookie.expires is not None and kept.cookie.expires <= now:
                self._drop(key)


class CookieShelf:
    """The jars of all devices.

    :param host: see :class:`CookieJar`.
    :param private: likewise.
    """

    def __init__(self, host: bytes, *, private: bool) -> None:
        self._host = host
        self._private = private
        self._jars: OrderedDict[str, CookieJar] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jars)

    def jar_of(self, device_id: str) -> CookieJar:
        """The device's; made if there is none."""
        jar = self._jars.get(device_id)
        if jar is None:
            jar = self._jars[device_id] = CookieJar(self._host, private=self._private)
            if len(self._jars) > MAX_JARS:
                self._jars.popitem(last=False)
        self._jars.move_to_end(device_id)
        return jar

    def forget(self, device_id: str) -> None:
        """The device is none any more."""
        self._jars.pop(device_id, None)


def _is_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.removesuffix(b"/") + b"/")
