"""Writes tests/vectors/pairing.json, how a device and an instance come to a secret::

    python -m tests.independent.pairing

Written from docs/gateway-protocol, section 2, alone; RSA and ML-KEM come from a library. A file
that is there keeps its random inputs; without one they are drawn.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, padding, rsa

__all__ = ["PLACE", "build"]

PLACE = Path(__file__).resolve().parents[1] / "vectors" / "pairing.json"

ABOUT = (
    "Vectors of pairings and rotations, docs/gateway-protocol, section 2; made by"
    " tests/independent. Bytes are hexadecimal. `current` is the secret before, `secret` the one"
    " that comes out; the pairing's is the setup secret. What stands in a group malformed_... or"
    " failed_... must be refused. A photograph of the QR and all that was ever sent give nothing"
    " but `current` of the pairing, which opens nothing of what follows (`opens_nothing`)."
)
INPUT_BYTES = {
    "instance_id": 16,
    "device_id": 16,
    "setup_key": 16,
    "setup_secret": 32,
    "client_nonce": 32,
    "nonce_d": 32,
    "nonce_i": 32,
    "current": 32,
    "spki": 91,
}
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
EXPIRES = 1_790_000_600
GATEWAY = "https://gateway.example"


def vec(data: bytes) -> bytes:
    """A length and the bytes."""
    return struct.pack(">H", len(data)) + data


def sized(data: bytes) -> bytes:
    """A long length and the bytes."""
    return struct.pack(">Q", len(data)) + data


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-SHA256."""
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256, one block."""
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()[:length]


def draw() -> dict[str, str]:
    """Fresh inputs."""
    drawn = {name: secrets.token_hex(count) for name, count in INPUT_BYTES.items()}
    private, kem = rsa.generate_private_key(65537, 2048), mlkem.MLKEM768PrivateKey.generate()
    rsa_secret = secrets.token_bytes(32)
    kem_secret, kem_ct = kem.public_key().encapsulate()
    der = private.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return drawn | {
        "rsa_private_pkcs8_der": der.hex(),
        "mlkem_seed": kem.private_bytes_raw().hex(),
        "rsa_secret": rsa_secret.hex(),
        "rsa_ct": private.public_key().encrypt(rsa_secret, OAEP).hex(),
        "mlkem_secret": kem_secret.hex(),
        "mlkem_ct": kem_ct.hex(),
    }


def build(inputs: dict[str, str]) -> dict[str, Any]:
    """All groups."""
    raw = {name: bytes.fromhex(value) for name, value in inputs.items()}
    private = serialization.load_der_private_key(raw["rsa_private_pkcs8_der"], None)
    assert isinstance(private, rsa.RSAPrivateKey)
    rsa_public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    kem_public = (
        mlkem.MLKEM768PrivateKey.from_seed_bytes(raw["mlkem_seed"]).public_key().public_bytes_raw()
    )

    def exchange(current: bytes, generation: int) -> dict[str, Any]:
        opening = b"\x01" + struct.pack(">I", generation) + vec(rsa_public) + vec(kem_public)
        commit = hashlib.sha256(b"ptgw1 commit" + raw["nonce_d"] + opening).digest()
        request = opening + commit
        answer = b"\x01" + struct.pack(">I", generation) + raw["nonce_i"]
        answer += vec(raw["rsa_ct"]) + vec(raw["mlkem_ct"])
        ends = raw["instance_id"] + raw["device_id"]
        t2 = hashlib.sha256(b"ptgw1 t2" + ends + sized(request) + sized(answer)).digest()
        prk = extract(t2, current + raw["rsa_secret"] + raw["mlkem_secret"])
        t3 = hashlib.sha256(b"ptgw1 t3" + t2 + raw["nonce_d"]).digest()
        number = int.from_bytes(expand(extract(b"ptgw1 sas", t3), b"", 8), "big")
        return {
            "generation": generation,
            "current": current.hex(),
            "request": request.hex(),
            "answer": answer.hex(),
            "transcript": t2.hex(),
            "secret": expand(prk, b"ptgw1 device secret", 32).hex(),
            "confirm": (b"\x02" + raw["nonce_d"]).hex(),
            "confirmed": "02",
            "digits": str(number % 1_000_000).zfill(6),
        }

    pairing, rotation = exchange(raw["setup_secret"], 1), exchange(raw["current"], 8)
    request, answer = bytes.fromhex(pairing["request"]), bytes.fromhex(pairing["answer"])
    confirm = bytes.fromhex(pairing["confirm"])
    pin = hashlib.sha256(raw["spki"]).digest()[:16]

    def code(gateway: str = GATEWAY, **changed: Any) -> str:
        fields = {"version": 1, "pin": pin, "more": b""} | changed
        data = bytes([fields["version"]]) + raw["setup_key"] + raw["setup_secret"] + fields["pin"]
        data += struct.pack(">I", EXPIRES) + fields["more"]
        return f"{gateway}/pair#" + base64.urlsafe_b64encode(data).decode().rstrip("=")

    whole = code()
    codes = {
        "as shown": (GATEWAY, pin, whole),
        "without a pin": (GATEWAY, bytes(16), code(pin=bytes(16))),
        "with a port and a path": (
            "https://a.example:8443/gate/way",
            pin,
            code("https://a.example:8443/gate/way"),
        ),
        "an address of IPv6": ("https://[fe80::1]:4663", pin, code("https://[fe80::1]:4663")),
        "on this machine": ("http://127.0.0.1:4663", pin, code("http://127.0.0.1:4663")),
        "this machine by name": ("http://localhost", pin, code("http://localhost")),
        "blanks around it": (GATEWAY, pin, f"  {whole}\n"),
    }
    failed_codes = {
        "nothing": "",
        "the address alone": GATEWAY,
        "a character too few": whole[:-1],
        "a character too many": whole + "A",
        "three bytes more": code(more=b"abc"),
        "filled up": code(more=b"\0") + "==",
        "a blank in the middle": whole.replace("#", "# "),
        "two lines": whole[:60] + "\n" + whole[60:],
        "not for a pairing": whole.replace("/pair#", "/join#"),
        "a query": whole.replace("/pair#", "/pair?#"),
        "in base64 that is not for addresses": whole[:-2] + "+/",
        "plain HTTP": whole.replace("https", "http"),
        "plain HTTP to what begins like this machine": code("http://localhost.example"),
        "another scheme": whole.replace("https", "ftp"),
        "a name and a password": code("https://me:secret@gateway.example"),
        "no host": code("https://"),
        "another version": code(version=2),
    }
    malformed_requests = {
        "nothing": b"",
        "an unknown kind": b"\x03" + request[1:],
        "kind 0": b"\x00" + request[1:],
        "a byte too few": request[:-1],
        "a byte too many": request + b"\0",
        "another length of the RSA key": request[:5] + b"\x01\x25" + request[7:],
        "another length of the ML-KEM key": request[:301] + b"\x04\x9f" + request[303:],
        "a confirmation, a byte too few": confirm[:-1],
        "a confirmation, a byte too many": confirm + b"\0",
        "a confirmation alone": b"\x02",
    }
    malformed_answers = {
        "nothing": b"",
        "another kind": b"\x02" + answer[1:],
        "another generation": answer[:4] + b"\x02" + answer[5:],
        "a byte too few": answer[:-1],
        "a byte too many": answer + b"\0",
        "another length of RSA's part": answer[:37] + b"\x00\xff" + answer[39:],
        "another length of ML-KEM's part": answer[:295] + b"\x04\x3f" + answer[297:],
        "the request itself": request,
    }
    failed_confirms = {
        "another nonce": bytes([confirm[1] ^ 1]) + confirm[2:],
        "the instance's nonce": raw["nonce_i"],
        "the commitment": request[-32:],
        "zeros": bytes(32),
    }
    password = hmac.new(
        raw["client_nonce"], b"ptgw1 device password" + raw["setup_key"], hashlib.sha256
    ).digest()[:16]
    return {
        "about": ABOUT,
        "inputs": inputs,
        "device_password": password.hex(),
        "client_nonce_hash": hashlib.sha256(raw["client_nonce"]).hexdigest(),
        "expires": EXPIRES,
        "codes": [
            {"name": name, "gateway": gateway, "pin": each.hex(), "text": text}
            for name, (gateway, each, text) in codes.items()
        ],
        "failed_codes": [{"name": name, "text": text} for name, text in failed_codes.items()],
        "pairing": pairing,
        "rotation": rotation,
        "opens_nothing": _without_keys(raw, pairing),
        "malformed_requests": _listed(malformed_requests),
        "malformed_answers": _listed(malformed_answers),
        "failed_confirms": _listed(failed_confirms),
    }


def _without_keys(raw: dict[str, bytes], pairing: dict[str, Any]) -> list[dict[str, str]]:
    """What somebody could take for the secret who knows the QR and recorded everything."""
    transcript, setup = bytes.fromhex(pairing["transcript"]), raw["setup_secret"]
    rest = {
        "the setup secret itself": None,
        "with zeros for what was encapsulated": bytes(64),
        "with nothing for it": b"",
        "with what was sent for it": raw["rsa_ct"] + raw["mlkem_ct"],
        "with the nonces for it": raw["nonce_d"] + raw["nonce_i"],
        "with one of the two": raw["rsa_secret"] + bytes(32),
        "with the other": bytes(32) + raw["mlkem_secret"],
    }
    return [
        {
            "name": name,
            "secret": (
                setup
                if known is None
                else expand(extract(transcript, setup + known), b"ptgw1 device secret", 32)
            ).hex(),
        }
        for name, known in rest.items()
    ]


def _listed(groups: dict[str, bytes]) -> list[dict[str, str]]:
    return [{"name": name, "plaintext": data.hex()} for name, data in groups.items()]


def main() -> None:
    """Write the file."""
    inputs = json.loads(PLACE.read_text(encoding="utf-8"))["inputs"] if PLACE.exists() else draw()
    PLACE.write_text(json.dumps(build(inputs), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
