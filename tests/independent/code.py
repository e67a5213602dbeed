"""The code that people pass on: docs/session-protocol, section 4."""

from __future__ import annotations

import base64
from typing import NamedTuple

__all__ = ["Code", "CodeError", "check_digit", "format_pin_code", "link_text", "parse"]

# Damm's quasigroup of order 10 as it is published everywhere.
TABLE = (
    "0317598642",
    "7092154863",
    "4206871359",
    "1750983426",
    "6123045978",
    "3674209581",
    "5869720134",
    "8945362017",
    "9438617205",
    "2581436790",
)
DIGITS = set("0123456789")


class CodeError(ValueError):
    """Nobody can have been given this code."""


class Code(NamedTuple):
    """The session number, and the PRS or None in SAS mode."""

    number: int
    prs: str | None


def check_digit(digits: str) -> str:
    """Damm's check digit over digits."""
    interim = 0
    for digit in digits:
        interim = int(TABLE[interim][int(digit)])
    return str(interim)


def format_pin_code(number: int, pin: str) -> str:
    """The code in groups of four."""
    digits = f"{number}{pin}"
    digits += check_digit(digits)
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def link_text(secret: bytes) -> str:
    """26 characters for 128 bits."""
    return base64.b32encode(secret).decode().rstrip("=")


def parse(text: str) -> Code:
    """A typed code or a link."""
    if text.startswith("porttunnel:"):
        number, mark, characters = text.removeprefix("porttunnel:").partition("#")
        try:
            secret = base64.b32decode(characters + "======")
        except ValueError:
            raise CodeError("not base32") from None
        if not mark or len(characters) != 26 or link_text(secret) != characters:
            raise CodeError("not 26 characters of 128 bits")
        return Code(_number(number), characters)
    digits = text.replace(" ", "")
    if not digits or set(digits) - DIGITS:
        raise CodeError("not digits")
    if len(digits) <= 8:
        return Code(_number(digits), None)
    if check_digit(digits) != "0":
        raise CodeError("the check digit")
    return Code(_number(digits[:-7]), digits[-7:-1])


def _number(digits: str) -> int:
    if not 5 <= len(digits) <= 8 or set(digits) - DIGITS or digits[0] == "0":
        raise CodeError("not a session number")
    return int(digits)
