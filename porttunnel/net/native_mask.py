"""Autobahn's compiled masker, where there is one: payloads are unmasked where they lie.

Autobahn's own classes around it copy a payload twice, which costs more than the mask itself.
"""

from __future__ import annotations

from autobahn.websocket import USES_NVX

from porttunnel.websocket.mask import Unmask
from porttunnel.websocket.mask import unmask as unmask_by_python

__all__ = ["unmask"]

unmask: Unmask = unmask_by_python
"""See :data:`porttunnel.websocket.mask.Unmask`."""

# Autobahn says whether it was built with it, and whether AUTOBAHN_USE_NVX forbids it.
if USES_NVX:
    from _nvx_xormasker import ffi, lib  # type: ignore[import-not-found]  # it is compiled

    # Each look-up in the library costs as much as a hundred bytes.
    _array_of_bytes = ffi.typeof("uint8_t[]")
    _from_buffer = ffi.from_buffer
    _new, _apply, _free = lib.nvx_xormask_new, lib.nvx_xormask_process, lib.nvx_xormask_free

    def _unmask_natively(payload: memoryview, mask: bytes) -> None:
        masker = _new(mask)
        _apply(masker, _from_buffer(_array_of_bytes, payload), len(payload))
        _free(masker)

    unmask = _unmask_natively
