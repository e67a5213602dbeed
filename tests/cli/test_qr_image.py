"""porttunnel.cli.qr_image: a QR code in a picture, written by another library than reads it."""

from __future__ import annotations

import builtins
import struct
from pathlib import Path
from typing import Any

import pytest
import segno
from PIL import EpsImagePlugin, Image

from porttunnel.cli.qr_image import read_pairing_image
from porttunnel.errors import ConfigurationError
from porttunnel.gateway.pairing_code import WEB_PKI, PairingCode


def make_code(number: int = 1) -> str:
    key, secret = bytes([number]) * 16, bytes([number]) * 32
    return PairingCode("https://gw.example.com", key, secret, WEB_PKI, expires=2_000).format()


def write_qr(path: Path, words: str, scale: int = 5) -> Path:
    segno.make(words, micro=False).save(str(path), scale=scale, border=4)
    return path


def join_pictures(path: Path, *parts: Path) -> Path:
    pictures = [Image.open(part).convert("L") for part in parts]
    whole = Image.new("L", (sum(p.width for p in pictures), max(p.height for p in pictures)), 255)
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width
    whole.save(path)
    return path


def test_a_screenshot(tmp_path: Path) -> None:
    assert read_pairing_image(write_qr(tmp_path / "a.png", make_code())) == make_code()


def test_a_photo_is_small_turned_and_lossy(tmp_path: Path) -> None:
    picture = Image.open(write_qr(tmp_path / "a.png", make_code())).convert("RGB")
    picture.rotate(9, expand=True, fillcolor="white").save(tmp_path / "a.jpg", quality=60)
    assert read_pairing_image(tmp_path / "a.jpg") == make_code()


def test_another_code_beside_it_is_nothing(tmp_path: Path) -> None:
    poster = write_qr(tmp_path / "poster.png", "https://www.example.com/menu")
    ours = write_qr(tmp_path / "ours.png", make_code())
    both = join_pictures(tmp_path / "both.png", poster, ours)
    assert read_pairing_image(both) == make_code()
    with pytest.raises(ConfigurationError, match="no pairing code in"):
        read_pairing_image(poster)


def test_two_of_them_are_one_too_many(tmp_path: Path) -> None:
    parts = [write_qr(tmp_path / f"{n}.png", make_code(n)) for n in (1, 2)]
    with pytest.raises(ConfigurationError, match="several pairing codes"):
        read_pairing_image(join_pictures(tmp_path / "both.png", *parts))


def test_the_same_twice_is_one(tmp_path: Path) -> None:
    part = write_qr(tmp_path / "a.png", make_code())
    assert read_pairing_image(join_pictures(tmp_path / "both.png", part, part)) == make_code()


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_pairing_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture at all")
    with pytest.raises(ConfigurationError, match="can't be read as a picture"):
        read_pairing_image(tmp_path / "text.png")
    whole = write_qr(tmp_path / "a.png", make_code()).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match="can't be read as a picture"):
        read_pairing_image(tmp_path / "half.png")
    Image.new("L", (70_000, 1)).save(tmp_path / "line.png")
    with pytest.raises(ConfigurationError, match="can't be read as a picture"):
        read_pairing_image(tmp_path / "line.png")


def test_no_other_program_is_started_for_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **o: started.append(a))
    Image.open(write_qr(tmp_path / "a.png", make_code())).convert("L").save(tmp_path / "a.eps")
    with pytest.raises(ConfigurationError, match="can't be read as a picture"):
        read_pairing_image((tmp_path / "a.eps").rename(tmp_path / "photo.png"))
    assert not started


def test_what_is_odd_in_a_picture_is_not_told(tmp_path: Path) -> None:
    picture = Image.open(write_qr(tmp_path / "a.png", make_code())).convert("L")
    picture.save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    tag = data.index(struct.pack("<HH", 284, 3))  # PlanarConfiguration, of which there is one
    data[tag + 4] = 9
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.warns(UserWarning, match="Truncated|Tag data|Metadata"):  # if nobody keeps it off
        Image.open(tmp_path / "a.tif").load()
    assert read_pairing_image(tmp_path / "a.tif") == make_code()


def test_a_picture_that_unpacks_to_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_qr(tmp_path / "a.png", make_code())
    for pixels in (30_000, 10):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
        with pytest.raises(ConfigurationError, match="can't be read as a picture"):
            read_pairing_image(path)


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "zxingcpp":
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigurationError, match="pip install zxing-cpp pillow"):
        read_pairing_image(tmp_path / "a.png")
