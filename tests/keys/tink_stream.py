"""Google's Tink as the other side of a sealed stream."""

from __future__ import annotations

import base64
import io
import json

import tink
from tink import secret_key_access, streaming_aead

__all__ = ["tink_open", "tink_seal"]

TYPE = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
# AesGcmHkdfStreamingParams as a protocol buffer: segments of 65,536, a key of 32, SHA-256.
PARAMS = b"\x08\x80\x80\x04" + b"\x10\x20" + b"\x18\x03"


class _Kept(io.BytesIO):
    """Tink closes what it has written to; this stays readable."""

    def close(self) -> None:
        self.flush()


def _primitive(ikm: bytes) -> streaming_aead.StreamingAead:
    streaming_aead.register()
    key = b"\x12" + bytes([len(PARAMS)]) + PARAMS + b"\x1a" + bytes([len(ikm)]) + ikm
    data = {
        "typeUrl": TYPE,
        "value": base64.b64encode(key).decode(),
        "keyMaterialType": "SYMMETRIC",
    }
    entry = {"keyData": data, "status": "ENABLED", "keyId": 1, "outputPrefixType": "RAW"}
    text = json.dumps({"primaryKeyId": 1, "key": [entry]})
    handle = tink.json_proto_keyset_format.parse(text, secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def tink_seal(ikm: bytes, associated: bytes, plaintext: bytes) -> bytes:
    """A whole stream: header and full segments."""
    kept = _Kept()
    with _primitive(ikm).new_encrypting_stream(kept, associated) as stream:
        stream.write(plaintext)
    return kept.getvalue()


def tink_open(ikm: bytes, associated: bytes, sealed: bytes) -> bytes:
    """The plaintext of a whole stream with full segments."""
    stream = _primitive(ikm).new_decrypting_stream(io.BytesIO(sealed), associated)
    with stream:
        opened: bytes = stream.read()
    return opened
