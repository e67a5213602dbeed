"""The QR code of an invitation as a file that only its owner can read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import segno

from porttunnel.cli import instance_text as text
from porttunnel.errors import ConfigurationError
from porttunnel.net.secret_file import write_secret_file

__all__ = ["write_picture"]

MODULE_PIXELS = 8  # 530 pixels for the usual length: fills half a screen


def write_picture(path: Path, code: str, kind: str) -> None:
    """Draw a code.

    :param code: what the QR says.
    :param kind: ``png`` or ``svg``.
    :raises ConfigurationError: it can't be written.
    """
    drawn = BytesIO()
    segno.make(code, micro=False).save(drawn, kind=kind, scale=MODULE_PIXELS)
    try:
        write_secret_file(path, drawn.getvalue())
    except OSError as error:
        raise ConfigurationError(
            text.PICTURE_NOT_WRITTEN.format(path=path, reason=error.strerror)
        ) from None
