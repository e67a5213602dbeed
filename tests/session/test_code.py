"""porttunnel/session/code.py: what people read out, type, paste and scan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porttunnel.errors import MistypedCode
from porttunnel.session.code import (
    LINK_SECRET_CHARACTERS,
    MAX_NUMBER_DIGITS,
    MIN_NUMBER_DIGITS,
    CodeKind,
    SessionCode,
    draw_link_secret,
    draw_pin,
    format_code,
    format_link,
    parse_code,
)

SECRET = "ABCDEFGHIJKLMNOPQRSTUVWX2A"
LINK = f"porttunnel:48213#{SECRET}"
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

numbers = st.integers(10 ** (MIN_NUMBER_DIGITS - 1), 10**MAX_NUMBER_DIGITS - 1)
pins = st.from_regex("[0-9]{6}", fullmatch=True)
link_secrets = st.binary(min_size=16, max_size=16).map(
    lambda drawn: draw_link_secret(lambda _: drawn)
)


class TestDigits:
    def test_the_specifications_example(self) -> None:
        code = parse_code("4821 3604 2197")
        assert code == SessionCode(48213, pin="604219")
        assert code.kind is CodeKind.PIN
        assert code.password == b"604219"
        assert format_code(code) == "4821 3604 2197"

    @pytest.mark.parametrize(
        "text",
        [
            "482136042197",
            "4821-3604-2197",
            " 4821  3604\t2197\r\n",
            "48213 604219 7",
            "4821\u00a03604\u20112197",
            "4-8-2-1-3-6-0-4-2-1-9-7",
        ],
    )
    def test_whatever_stands_between_the_digits(self, text: str) -> None:
        assert parse_code(text) == SessionCode(48213, pin="604219")

    @given(numbers, pins)
    def test_what_was_formatted_is_parsed(self, number: int, pin: str) -> None:
        code = SessionCode(number, pin=pin)
        text = format_code(code)
        assert parse_code(text) == code
        groups = text.split(" ")
        assert {len(group) for group in groups[:-1]} == {4}
        assert 1 <= len(groups[-1]) <= 4

    @given(numbers, pins, st.data())
    def test_every_wrong_digit_is_found(self, number: int, pin: str, data: st.DataObject) -> None:
        digits = format_code(SessionCode(number, pin=pin)).replace(" ", "")
        place = data.draw(st.integers(0, len(digits) - 1))
        wrong = data.draw(st.sampled_from([d for d in "0123456789" if d != digits[place]]))
        with pytest.raises(MistypedCode):
            parse_code(digits[:place] + wrong + digits[place + 1 :])

    @given(numbers, pins, st.data())
    def test_every_swap_of_neighbours_is_found(
        self, number: int, pin: str, data: st.DataObject
    ) -> None:
        digits = format_code(SessionCode(number, pin=pin)).replace(" ", "")
        place = data.draw(st.integers(0, len(digits) - 2))
        first, second = digits[place], digits[place + 1]
        swapped = digits[:place] + second + first + digits[place + 2 :]
        if first == second:
            assert parse_code(swapped).pin == pin
        else:
            with pytest.raises(MistypedCode):
                parse_code(swapped)

    @pytest.mark.parametrize("length", [0, 1, 4, 9, 10, 11, 16, 17, 100])
    def test_other_lengths_are_no_code(self, length: int) -> None:
        with pytest.raises(MistypedCode):
            parse_code("1" * length)

    @pytest.mark.parametrize("number", ["12", "9999", "123456789", "1234567890"])
    def test_a_right_check_digit_does_not_make_a_number_right(self, number: str) -> None:
        rest = number + "604219"
        wrong = []
        for digit in "0123456789":
            with pytest.raises(MistypedCode) as caught:
                parse_code(rest + digit)
            wrong.append("session number" in str(caught.value))
        assert wrong.count(True) == 1

    @pytest.mark.parametrize("text", ["0821 3604 2197", "04821", "00000"])
    def test_no_number_begins_with_zero(self, text: str) -> None:
        with pytest.raises(MistypedCode):
            parse_code(text)

    @pytest.mark.parametrize(
        "text", ["", " - ", "4821 3604 219x", "４８２１３", "٤٨٢١٣", "+48213", "4.8213"]
    )
    def test_only_plain_digits(self, text: str) -> None:
        with pytest.raises(MistypedCode, match="digits only"):
            parse_code(text)


class TestNumberAlone:
    @pytest.mark.parametrize("text", ["48213", "482 137", "1000000", "9999-9999"])
    def test_is_sas(self, text: str) -> None:
        code = parse_code(text)
        assert code.kind is CodeKind.SAS
        assert code.pin is None
        assert code.link_secret is None
        assert code.password == b""

    @given(numbers)
    def test_what_was_formatted_is_parsed(self, number: int) -> None:
        assert parse_code(format_code(SessionCode(number))) == SessionCode(number)

    def test_is_shown_without_a_check_digit(self) -> None:
        assert format_code(SessionCode(48213)) == "4821 3"


class TestLink:
    @pytest.mark.parametrize(
        "text", [LINK, f"  {LINK}\n", LINK.replace("porttunnel", "PortTunnel")]
    )
    def test_parses(self, text: str) -> None:
        code = parse_code(text)
        assert code == SessionCode(48213, link_secret=SECRET)
        assert code.kind is CodeKind.LINK
        assert code.password == SECRET.encode()

    @given(numbers, link_secrets)
    def test_what_was_formatted_is_parsed(self, number: int, secret: str) -> None:
        code = SessionCode(number, link_secret=secret)
        assert parse_code(format_link(code)) == code

    @pytest.mark.parametrize(
        "text",
        [
            "porttunnel:",
            "porttunnel:48213",
            "porttunnel:48213#",
            f"porttunnel:#{SECRET}",
            f"porttunnel:4821x#{SECRET}",
            f"porttunnel: 48213#{SECRET}",
            f"porttunnel:48213#{SECRET[:-1]}",
            f"porttunnel:48213#{SECRET}A",
            f"porttunnel:48213#{SECRET.lower()}",
            f"porttunnel:48213#{SECRET[:-1]}1",
            f"porttunnel:48213#{SECRET[:12]} {SECRET[13:]}",
            f"porttunnel://48213#{SECRET}",
        ],
    )
    def test_what_is_not_complete_is_refused(self, text: str) -> None:
        with pytest.raises(MistypedCode, match="link is not complete"):
            parse_code(text)

    @pytest.mark.parametrize("number", ["1234", "04821", "123456789"])
    def test_with_a_wrong_number(self, number: str) -> None:
        with pytest.raises(MistypedCode, match="session number"):
            parse_code(f"porttunnel:{number}#{SECRET}")

    @pytest.mark.parametrize("last", BASE32)
    def test_the_last_two_bits_are_zero(self, last: str) -> None:
        text = LINK[:-1] + last
        if BASE32.index(last) % 4:
            with pytest.raises(MistypedCode):
                parse_code(text)
        else:
            assert parse_code(text).link_secret == SECRET[:-1] + last


class TestDrawing:
    @pytest.mark.parametrize(("drawn", "pin"), [(0, "000000"), (7, "000007"), (999_999, "999999")])
    def test_a_pin_has_six_digits(self, drawn: int, pin: str) -> None:
        bounds = []

        def randbelow(bound: int) -> int:
            bounds.append(bound)
            return drawn

        assert draw_pin(randbelow) == pin
        assert bounds == [1_000_000]

    @pytest.mark.parametrize(
        ("drawn", "secret"),
        [
            (bytes(16), "A" * 26),
            (b"\xff" * 16, "7" * 25 + "4"),
            (bytes(15) + b"\1", "A" * 25 + "E"),
            (b"\x80" + bytes(15), "Q" + "A" * 25),
        ],
    )
    def test_a_link_secret_is_base32_without_padding(self, drawn: bytes, secret: str) -> None:
        lengths = []

        def token_bytes(length: int) -> bytes:
            lengths.append(length)
            return drawn

        assert draw_link_secret(token_bytes) == secret
        assert len(secret) == LINK_SECRET_CHARACTERS
        assert lengths == [16]


class TestSessionCode:
    @pytest.mark.parametrize("number", [0, 9_999, 100_000_000, -10_000, -1234])
    def test_a_number_has_5_to_8_digits(self, number: int) -> None:
        with pytest.raises(ValueError, match="5 to 8 digits"):
            SessionCode(number)

    @pytest.mark.parametrize("pin", ["", "12345", "1234567", "12345x", "１２３４５６"])
    def test_a_pin_has_six_digits(self, pin: str) -> None:
        with pytest.raises(ValueError, match="6 digits"):
            SessionCode(48213, pin=pin)

    @pytest.mark.parametrize("secret", ["", SECRET[:-1], SECRET.lower(), SECRET[:-1] + "B"])
    def test_a_link_secret_is_complete(self, secret: str) -> None:
        with pytest.raises(ValueError, match="26 base32 characters"):
            SessionCode(48213, link_secret=secret)

    def test_has_one_secret_at_most(self) -> None:
        with pytest.raises(ValueError, match="not both"):
            SessionCode(48213, pin="604219", link_secret=SECRET)

    def test_each_form_belongs_to_its_kind(self) -> None:
        with pytest.raises(ValueError, match="as a link"):
            format_code(SessionCode(48213, link_secret=SECRET))
        for code in (SessionCode(48213), SessionCode(48213, pin="604219")):
            with pytest.raises(ValueError, match="link form"):
                format_link(code)

    def test_shows_no_secret(self) -> None:
        assert repr(SessionCode(48213, pin="604219")) == "<SessionCode 48213 pin>"
        assert repr(SessionCode(48213, link_secret=SECRET)) == "<SessionCode 48213 link>"
        assert str(SessionCode(48213)) == "<SessionCode 48213 sas>"


@pytest.mark.parametrize(
    "text",
    [
        "4821 3604 2198",
        "48 604219 3",
        "4821 3604 219x",
        LINK[:-1],
        LINK + "A",
        "porttunnel:1#" + SECRET,
        SECRET,
        "604219" * 20,
    ],
)
def test_no_complaint_repeats_what_was_typed(text: str) -> None:
    with pytest.raises(MistypedCode) as caught:
        parse_code(text)
    complaint = str(caught.value)
    assert "nothing was sent" in complaint
    for secret in ("604219", "6042", "3604", "2198", SECRET[:8], text):
        assert secret not in complaint


@given(st.text(max_size=120) | st.text("0123456789 -", max_size=20))
def test_any_text_is_a_code_or_mistyped(text: str) -> None:
    """No text brings another error, and what is taken for a code is one as it is shown again."""
    try:
        code = parse_code(text)
    except MistypedCode:
        code = None
    if code is not None:
        shown = format_link(code) if code.kind is CodeKind.LINK else format_code(code)
        assert parse_code(shown) == code
