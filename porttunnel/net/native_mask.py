"""Compiled maskers, where there are any.

Autobahn's takes the mask off where a payload lies (its own classes around it copy a payload twice,
which costs more than the mask itself). That of ``websockets`` is one call for a small payload, and
so takes a tenth of the time.
"""

from __future__ import annotations

from autobahn.websocket import USES_NVX

from porttunnel.websocket.mask import Unmask, UnmaskedCopy
from porttunnel.websocket.mask import unmask as unmask_by_python

__all__ = ["unmask", "unmasked_copy"]

unmask: Unmask = unmask_by_python
"""See :data:`porttunnel.websocket.mask.Unmask`."""

unmasked_copy: UnmaskedCopy | None
"""See :data:`porttunnel.websocket.mask.UnmaskedCopy`; None without ``websockets``."""

try:
    from websockets.speedups import apply_mask as unmasked_copy
except ImportError:
    unmasked_copy = None

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
