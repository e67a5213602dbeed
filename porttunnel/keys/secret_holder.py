"""What every object that holds key material has in common.

It shows nothing of itself, stays out of pickles and copies, and dies in a forked child: two
processes that go on with one key would use one nonce twice, and AES-GCM then gives away both
plaintexts and its authentication key (docs/session-protocol, section 7).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, ClassVar, Never, Self
from weakref import WeakSet

from porttunnel.errors import LocalProtocolError

__all__ = ["SecretHolder"]

_living: WeakSet[SecretHolder] = WeakSet()


class SecretHolder:
    """Parent of objects whose attributes are secrets; subclasses declare ``__slots__``.

    :cvar OPEN_SLOTS: names of the slots that are no secrets and survive :meth:`erase`.
    """

    __slots__ = ("__weakref__",)
    OPEN_SLOTS: ClassVar[frozenset[str]] = frozenset()

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        """Remember the holder, so that a forked child can forget it."""
        holder = object.__new__(cls)
        _living.add(holder)
        return holder

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (secret)>"

    def __reduce_ex__(self, _protocol: Any) -> Never:
        # copy and deepcopy come through here too.
        raise TypeError(f"{type(self).__name__} holds a secret and is neither pickled nor copied")

    def erase(self) -> None:
        """Drop the secrets; whatever still needs them raises LocalProtocolError from now on.

        Python can't overwrite bytes objects: the memory goes back to the allocator as it is.
        """
        erased = _erased_form(type(self))
        for name in _slots_of(type(self)) - self.OPEN_SLOTS:
            # Unset already, or erased before: both are what is wanted. A frozen dataclass
            # refuses the plain statement.
            with suppress(AttributeError):
                object.__delattr__(self, name)
        object.__setattr__(self, "__class__", erased)


class _Erased:
    """Says what has become of the secrets. Only who is erased gets this: with a ``__getattr__``
    each access to an attribute is slow, and keys are asked for with every packet.
    """

    __slots__ = ()


def _refuse_missing(holder: SecretHolder, name: str) -> Never:
    if name in _slots_of(type(holder)):
        raise LocalProtocolError(
            f"{type(holder).__name__} was erased or belongs to another process; "
            "begin a new handshake"
        )
    raise AttributeError(f"'{type(holder).__name__}' object has no attribute '{name}'")


# Set from outside: a __getattr__ in the class body would make the type checker believe in every
# attribute name of every subclass.
type.__setattr__(_Erased, "__getattr__", _refuse_missing)


_erased_forms: dict[type, type] = {}


def _slots_of(kind: type) -> set[str]:
    own = {name for parent in kind.__mro__ for name in parent.__dict__.get("__slots__", ())}
    return own - {"__weakref__"}


def _erased_form(kind: type) -> type:
    """The same type, with the same name and slots, for those that were erased."""
    if issubclass(kind, _Erased):
        return kind
    if kind not in _erased_forms:
        # No slots of its own, or an object of the one could not become one of the other.
        body = {"__slots__": (), "__module__": kind.__module__, "__doc__": kind.__doc__}
        _erased_forms[kind] = type(kind.__name__, (_Erased, kind), body)
    return _erased_forms[kind]


def _erase_living() -> None:
    for holder in list(_living):
        holder.erase()


# Windows has no fork, and so no such function.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_erase_living)
