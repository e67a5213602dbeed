"""porttunnel.cli.big_digits: what can be read across a table."""

from __future__ import annotations

from porttunnel.cli.big_digits import format_big


def test_blocks_have_the_shape_of_digits() -> None:
    assert format_big("1 0").splitlines() == [
        "  ██          ██████",
        "████          ██  ██",
        "  ██          ██  ██",
        "  ██          ██  ██",
        "██████        ██████",
    ]


def test_each_digit_is_another() -> None:
    shapes = [format_big(digit) for digit in "0123456789"]
    assert len(set(shapes)) == 10
    assert all(len(shape.splitlines()) == 5 for shape in shapes)


def test_six_digits_fit_on_every_screen() -> None:
    assert max(map(len, format_big("888 888").splitlines())) < 80
