"""The text of a pairing's QR code out of a picture. Needs the extra ``qr``."""

from __future__ import annotations

import warnings
from pathlib import Path

from porttunnel.cli import device_text as text
from porttunnel.errors import ConfigurationError, PairingError
from porttunnel.gateway.pairing_code import PairingCode

__all__ = ["read_pairing_image"]

# What cameras, screens and browsers make. Pillow tells others by their content too, whatever the
# file is called, and starts another program for some of them: Ghostscript for EPS.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_pairing_image(path: Path) -> str:
    """What the only QR code in a picture that is a pairing's says.

    :raises ConfigurationError: it can't be read, there is none, or several.
    """
    try:
        import zxingcpp
        from PIL import Image
    except ImportError:
        raise ConfigurationError(text.QR_MISSING) from None
    too_large = (Image.DecompressionBombWarning, Image.DecompressionBombError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a file that can be read still
            # A picture that unpacks to gigabytes is none of a phone.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                codes = zxingcpp.read_barcodes(opened.convert("L"))
    except (OSError, ValueError, SyntaxError, *too_large) as error:
        reason = getattr(error, "strerror", None) or "no picture"
        raise ConfigurationError(text.NO_PICTURE.format(path=path, reason=reason)) from None
    # A QR code that is something else, a link on a poster, may be in the picture too.
    found = {each.text for each in codes if _is_pairing(each.text)}
    if not found:
        raise ConfigurationError(text.NO_QR.format(path=path))
    if len(found) > 1:
        raise ConfigurationError(text.SEVERAL_QR.format(path=path))
    return found.pop()


def _is_pairing(words: str) -> bool:
    try:
        PairingCode.parse(words)
    except PairingError:
        return False
    return True
