"""The code that people pass on: session number, PIN, check digit; or a link.

docs/session-protocol, section 4. ``4821 3604 2197`` is number 48213, PIN 604219, check digit 7.
Only the number ever goes to the server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from porttunnel.errors import MistypedCode

__all__ = [
    "LINK_PREFIX",
    "LINK_SECRET_BYTES",
    "MAX_NUMBER_DIGITS",
    "MIN_NUMBER_DIGITS",
    "PIN_DIGITS",
    "CodeKind",
    "SessionCode",
    "draw_link_secret",
    "draw_pin",
    "format_code",
    "format_link",
    "parse_code",
]

MIN_NUMBER_DIGITS = 5
MAX_NUMBER_DIGITS = 8  # 90 million numbers before a ninth would be needed
PIN_DIGITS = 6
LINK_SECRET_BYTES = 16
LINK_SECRET_CHARACTERS = 26  # 130 bits of base32, the last two are zero
LINK_PREFIX = "porttunnel:"
MAX_TYPED_CHARACTERS = 100  # the longest link has 46: beyond this somebody pasted something else

_GROUP_DIGITS = 4
_DIGITS = frozenset("0123456789")
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BASE32_LAST = _BASE32[::4]  # the two bits over 128 are zero: each secret has one spelling
# People copy codes out of letters and web pages, with whatever stands between the groups there.
_SEPARATORS = dict.fromkeys(map(ord, " \t\r\n-\u00a0\u2009\u2010\u2011\u2012\u2013\u202f"))

# Damm's quasigroup of order 10 (2004): finds every single wrong digit and every swap of two
# neighbours, which is how people mistype.
_DAMM = (
    (0, 3, 1, 7, 5, 9, 8, 6, 4, 2),
    (7, 0, 9, 2, 1, 5, 4, 8, 6, 3),
    (4, 2, 0, 6, 8, 7, 1, 3, 5, 9),
    (1, 7, 5, 0, 9, 8, 3, 4, 2, 6),
    (6, 1, 2, 3, 0, 4, 5, 9, 7, 8),
    (3, 6, 7, 4, 2, 0, 9, 5, 8, 1),
    (5, 8, 6, 9, 7, 2, 0, 1, 3, 4),
    (8, 9, 4, 5, 3, 6, 2, 0, 1, 7),
    (9, 4, 3, 8, 6, 1, 7, 2, 0, 5),
    (2, 5, 8, 1, 4, 3, 6, 7, 9, 0),
)

_ASK_AGAIN = "Compare it with what the other person sees and type it again; nothing was sent."


class CodeKind(Enum):
    """What a code holds beside the number."""

    PIN = "pin"
    LINK = "link"
    SAS = "sas"  # nothing: digits are read out afterwards


@dataclass(frozen=True, slots=True)
class SessionCode:
    """A session number with what proves the right to join.

    :param number: 5 to 8 digits, the first not 0.
    :param pin: six digits, or None.
    :param link_secret: 26 base32 characters, or None. At most one of both is given.
    """

    number: int
    pin: str | None = None
    link_secret: str | None = None

    def __post_init__(self) -> None:
        if not MIN_NUMBER_DIGITS <= len(str(self.number)) <= MAX_NUMBER_DIGITS or self.number < 0:
            raise ValueError("a session number has 5 to 8 digits")
        if self.pin is not None and self.link_secret is not None:
            raise ValueError("a code has a PIN or a link secret, not both")
        if self.pin is not None and not (len(self.pin) == PIN_DIGITS and {*self.pin} <= _DIGITS):
            raise ValueError(f"a PIN has {PIN_DIGITS} digits")
        if self.link_secret is not None and not _is_link_secret(self.link_secret):
            raise ValueError(f"a link secret has {LINK_SECRET_CHARACTERS} base32 characters")

    def __repr__(self) -> str:
        return f"<SessionCode {self.number} {self.kind.value}>"

    @property
    def kind(self) -> CodeKind:
        """What the code holds beside the number, and so the mode of the handshake."""
        if self.pin is not None:
            return CodeKind.PIN
        return CodeKind.SAS if self.link_secret is None else CodeKind.LINK

    @property
    def password(self) -> bytes:
        """The handshake's password string: ASCII of PIN or link secret, empty for SAS."""
        return (self.pin or self.link_secret or "").encode("ascii")


def parse_code(text: str) -> SessionCode:
    """Read what a user typed, pasted or scanned.

    :param text: ``4821 3604 2197`` with or without separators, a ``porttunnel:`` link, or a
        session number alone.
    :raises MistypedCode: no master can have shown this.
    """
    if len(text) > MAX_TYPED_CHARACTERS:
        raise MistypedCode(f"This is too long for a code. {_ASK_AGAIN}")
    stripped = text.strip()
    if stripped[: len(LINK_PREFIX)].lower() == LINK_PREFIX:
        return _parse_link(stripped[len(LINK_PREFIX) :])
    typed = text.translate(_SEPARATORS)
    if not typed or not _DIGITS.issuperset(typed):
        raise MistypedCode(f"A code has digits only, in groups of four. {_ASK_AGAIN}")
    if len(typed) <= MAX_NUMBER_DIGITS:
        return SessionCode(_parse_number(typed))
    # Too short and too long ones end here as well, as a wrong number.
    number, pin = typed[: -PIN_DIGITS - 1], typed[-PIN_DIGITS - 1 : -1]
    if _damm(typed) != 0:
        raise MistypedCode(f"The code is not right: a digit is wrong or missing. {_ASK_AGAIN}")
    return SessionCode(_parse_number(number), pin=pin)


def format_code(code: SessionCode) -> str:
    """The digits to read out or write down, in groups of four; the number alone for SAS.

    :raises ValueError: a link's code has no digits beside the number; use :func:`format_link`.
    """
    if code.kind is CodeKind.LINK:
        raise ValueError("a link secret is passed on as a link")
    digits = str(code.number)
    if code.pin is not None:
        digits += code.pin
        digits += str(_damm(digits))
    return " ".join(
        digits[start : start + _GROUP_DIGITS] for start in range(0, len(digits), _GROUP_DIGITS)
    )


def format_link(code: SessionCode) -> str:
    """The link form, also the QR code's content.

    :raises ValueError: the code has no link secret.
    """
    if code.link_secret is None:
        raise ValueError("only a code with a link secret has a link form")
    return f"{LINK_PREFIX}{code.number}#{code.link_secret}"


def draw_pin(randbelow: Callable[[int], int]) -> str:
    """A PIN of six digits, each equally likely.

    :param randbelow: ``secrets.randbelow``.
    """
    return f"{randbelow(10**PIN_DIGITS):0{PIN_DIGITS}}"


def draw_link_secret(token_bytes: Callable[[int], bytes]) -> str:
    """A link secret: 128 bits as 26 base32 characters, the last two bits zero.

    :param token_bytes: ``secrets.token_bytes``.
    """
    value = int.from_bytes(token_bytes(LINK_SECRET_BYTES)) << 2
    shifts = range(5 * (LINK_SECRET_CHARACTERS - 1), -1, -5)
    return "".join(_BASE32[value >> shift & 31] for shift in shifts)


def _parse_link(rest: str) -> SessionCode:
    number, _, secret = rest.partition("#")
    if not number or not _DIGITS.issuperset(number) or not _is_link_secret(secret):
        raise MistypedCode(
            "The link is not complete: it is porttunnel:, a number, # and 26 characters. "
            "Copy it again as a whole; nothing was sent."
        )
    return SessionCode(_parse_number(number), link_secret=secret)


def _parse_number(text: str) -> int:
    if not MIN_NUMBER_DIGITS <= len(text) <= MAX_NUMBER_DIGITS or text.startswith("0"):
        raise MistypedCode(
            "A session number has 5 to 8 digits and does not begin with 0; a code with PIN has "
            f"7 digits more. {_ASK_AGAIN}"
        )
    return int(text)


def _is_link_secret(secret: str) -> bool:
    return (
        len(secret) == LINK_SECRET_CHARACTERS
        and all(character in _BASE32 for character in secret)
        and secret[-1] in _BASE32_LAST
    )


def _damm(digits: str) -> int:
    """Damm's digit over ``digits``; 0 if they end in the right one."""
    interim = 0
    for digit in digits:
        interim = _DAMM[interim][int(digit)]
    return interim
