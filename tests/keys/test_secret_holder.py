"""porttunnel/keys/secret_holder.py: secrets stay out of sight, of pickles and of children."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import pytest

from porttunnel.errors import LocalProtocolError
from porttunnel.keys import secret_holder
from porttunnel.keys.secret_holder import SecretHolder

CANARY = b"canary-in-the-cage"


class Cage(SecretHolder):
    __slots__ = ("_bird", "_unused", "label")
    OPEN_SLOTS = frozenset({"label"})

    def __init__(self) -> None:
        self._bird = CANARY
        self.label = "cage 1"

    def sing(self) -> bytes:
        return self._bird


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FrozenCage(SecretHolder):
    bird: bytes


def test_shows_its_type_and_no_secret() -> None:
    assert repr(Cage()) == str(Cage()) == "<Cage (secret)>"
    assert repr(FrozenCage(CANARY)) == "<FrozenCage (secret)>"


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("holder", [Cage(), FrozenCage(CANARY)])
def test_is_neither_pickled_nor_copied(
    make_copy: Callable[[Any], Any], holder: SecretHolder
) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        make_copy(holder)


def test_erases_its_secrets_and_keeps_what_is_open() -> None:
    cage = Cage()
    assert cage.sing() == CANARY
    cage.erase()
    assert cage.label == "cage 1"
    assert isinstance(cage, Cage)
    assert repr(cage) == "<Cage (secret)>"
    with pytest.raises(LocalProtocolError, match="Cage was erased or belongs to another process"):
        cage.sing()


def test_erases_a_frozen_dataclass_and_does_not_mind_to_do_it_twice() -> None:
    cage = FrozenCage(CANARY)
    cage.erase()
    cage.erase()
    with pytest.raises(LocalProtocolError, match="begin a new handshake"):
        assert cage.bird


def test_what_was_set_after_an_erasure_is_erased_too() -> None:
    cage = Cage()
    cage.erase()
    cage._bird = CANARY
    cage.erase()
    with pytest.raises(LocalProtocolError):
        cage.sing()


def test_a_name_that_never_was_is_an_ordinary_mistake() -> None:
    living, erased = Cage(), Cage()
    erased.erase()
    for cage in (living, erased):
        with pytest.raises(AttributeError, match="'Cage' object has no attribute 'cat'"):
            getattr(cage, "cat")  # noqa: B009  # the type checker forbids the plain form
        assert not hasattr(cage, "__copy__")


def test_what_is_alive_at_a_fork_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_holder, "_living", WeakSet())
    cage = Cage()
    secret_holder._erase_living()
    with pytest.raises(LocalProtocolError):
        cage.sing()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_dies_in_a_forked_child_and_lives_on_in_the_parent() -> None:
    cage = Cage()
    child = os.fork()
    if child == 0:
        # Leaves by _exit in every case: two pytests must not report.
        try:
            cage.sing()
        except LocalProtocolError:
            os._exit(17)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    assert cage.sing() == CANARY
