"""A TLS 1.3 client that seals its records by hand: what no library lets its users send."""

from __future__ import annotations

import socket
import struct
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.task import deferLater

__all__ = ["ALERT", "CLOSE_NOTIFY", "DATA", "HANDSHAKE", "UPDATE_OF_KEYS", "ClientByHand"]

ALERT, HANDSHAKE, DATA = 21, 22, 23  # RFC 8446, section 5.1
CLOSE_NOTIFY = b"\x01\x00"
UPDATE_OF_KEYS = b"\x18\x00\x00\x01\x01"  # and the peer shall answer with its own: section 4.6.3
READ_BYTES = 65_536
SECRET_BYTES, KEY_BYTES, IV_BYTES = 48, 32, 12  # of TLS_AES_256_GCM_SHA384
LABEL = b"CLIENT_TRAFFIC_SECRET_0"


class ClientByHand:
    """Reads with OpenSSL, and writes by itself once the handshake is done.

    :param port: of the server, on loopback.
    """

    def __init__(self, port: int) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_keylog_callback(self._note_secret)
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.data = bytearray()
        self._connection = SSL.Connection(context, None)
        self._connection.set_connect_state()
        self._secret = b""
        self._number = 0

    async def shake_hands(self) -> bytes:
        """:returns: the last bytes of the handshake, for whoever calls to send."""
        while True:
            try:
                self._connection.do_handshake()
                return self._connection.bio_read(READ_BYTES)
            except SSL.WantReadError:
                try:
                    self.socket.sendall(self._connection.bio_read(READ_BYTES))
                except SSL.WantReadError:
                    self._take()
                await deferLater(reactor, 0)

    def seal(self, kind: int, content: bytes) -> bytes:
        """One record."""
        key, iv = self._expand(b"key", KEY_BYTES), self._expand(b"iv", IV_BYTES)
        inner = content + bytes([kind])
        head = struct.pack(">BHH", DATA, 0x0303, len(inner) + 16)
        nonce = (int.from_bytes(iv) ^ self._number).to_bytes(IV_BYTES)
        self._number += 1
        if content == UPDATE_OF_KEYS:
            self._secret, self._number = self._expand(b"traffic upd", SECRET_BYTES), 0
        return head + AESGCM(key).encrypt(nonce, inner, head)

    def read(self) -> None:
        """Open what is there into ``data``.

        :raises SSL.Error: it is no right record.
        """
        self._take()
        try:
            while True:
                self.data += self._connection.recv(READ_BYTES)
        except SSL.WantReadError:
            return

    def _take(self) -> None:
        try:
            self._connection.bio_write(self.socket.recv(READ_BYTES))
        except BlockingIOError:
            return

    def _note_secret(self, _: Any, line: bytes) -> None:
        label, _random, secret = line.split()
        if label == LABEL:
            self._secret = bytes.fromhex(secret.decode())

    def _expand(self, label: bytes, count: int) -> bytes:
        name = b"tls13 " + label
        info = struct.pack(">HB", count, len(name)) + name + b"\0"
        return HKDFExpand(SHA384(), count, info).derive(self._secret)
