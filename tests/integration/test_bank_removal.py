"""Versions that somebody removes while somebody else is at work with them."""

from typing import Any

import pytest

from shared.bank.chunks import download
from shared.bank.errors import UnknownVersion
from shared.bank.store import BankStore
from tests.banks import make


def remove_before(monkeypatch: pytest.MonkeyPatch, method: str, store: BankStore, version: str) -> None:
    """Somebody removes the version just before the store's method runs for the first time."""
    right = getattr(store, method)

    def late(*arguments: Any) -> Any:
        if version in store.versions("chip"):
            store.remove("chip", [version])
        return right(*arguments)

    monkeypatch.setattr(store, method, late)


def test_rollback_steps_over_what_is_removed_while_it_is_verified(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (make(seed=seed, minute=seed) for seed in range(3))
    for bundle in (first, second, third):
        store.publish(bundle)
    remove_before(monkeypatch, "_blobs", store, second.manifest.version)
    assert store.rollback("chip") == first.manifest.version == store.active("chip")


def test_what_is_removed_while_it_is_read_is_not_called_damaged(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make(seed=seed, minute=seed) for seed in range(2))
    for bundle in (first, second):
        store.publish(bundle)
    remove_before(monkeypatch, "_blobs", store, first.manifest.version)
    with pytest.raises(UnknownVersion, match="has no version"):
        store.activate("chip", first.manifest.version)


def test_what_is_removed_while_it_is_published_again_is_stored_again(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make(seed=seed, minute=seed) for seed in range(2))
    for bundle in (first, second):
        store.publish(bundle)
    with monkeypatch.context() as colleague:
        remove_before(colleague, "_activate", store, first.manifest.version)
        done = store.publish(first)
    assert (done.stored, done.activated, store.active("chip")) == (True, True, first.manifest.version)


def test_what_is_removed_and_published_again_while_it_is_read_is_not_called_damaged(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make(seed=seed, minute=seed) for seed in range(2))
    for bundle in (first, second):
        store.publish(bundle)

    def between(*arguments: Any) -> bytes:
        monkeypatch.undo()
        store.remove("chip", [first.manifest.version])
        try:
            return download(*arguments)
        finally:
            store.publish(first, activate=False)

    monkeypatch.setattr("shared.bank.store.download", between)
    assert store.bundle("chip", first.manifest.version).manifest == first.manifest
