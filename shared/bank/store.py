"""Published memory banks in Redis (or Valkey): immutable versions, and a pointer to the active one of each product.

    chipsieve:bank:products                     set     products ever published
    chipsieve:bank:active                       hash    product → active version
    chipsieve:bank:history:<product>            list    versions as they were activated, the active one first
    chipsieve:bank:manifests:<product>          hash    version → manifest
    chipsieve:bank:arrays:<product>:<version>   hash    file:chunk → bytes
    chipsieve:bank:staging:<random>             hash    arrays on their way; expires by itself

Readers find a version through its manifest, and the manifest appears in the same transaction as the arrays' key and the
pointer: a publish that dies half way leaves a staging key that nobody reads and that expires.
"""

import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote

from shared.bank.bundle import Bundle, decode, decode_graphs, encode, graph_entries
from shared.bank.chunks import download, upload
from shared.bank.connection import Connection
from shared.bank.errors import BankUnavailable, CorruptBundle, UnknownProduct, UnknownVersion, VersionInUse
from shared.bank.manifest import ArrayEntry, Manifest
from shared.settings import RedisSettings
from shared.vision.int8_graphs import Int8Graphs

HISTORY_LENGTH: Final = 100  # activations that rollback can go back through


@dataclass(frozen=True, slots=True)
class Publication:
    """What `BankStore.publish` changed."""

    stored: bool
    """False where the version was there already."""
    activated: bool
    """False where it was active already, or was not to be activated."""


class BankStore:
    """The banks in one Redis. Safe to share between threads.

    Every method raises `BankUnavailable` where Redis cannot be reached or refuses, or its password cannot be read now.
    """

    def __init__(self, settings: RedisSettings, *, namespace: str = "chipsieve") -> None:
        self._connection = Connection(settings)
        self._address = self._connection.address
        self._prefix = f"{namespace}:bank"

    def close(self) -> None:
        """Close the connections."""
        self._connection.redis.close()

    def products(self) -> list[str]:
        """Every product of which a version was published, sorted."""
        with self._connection.answering() as redis:
            return sorted(_text(product) for product in redis.smembers(f"{self._prefix}:products"))

    def versions(self, product: str) -> list[str]:
        """The product's published versions, newest first.

        Raises:
            UnknownProduct: none was published.
        """
        with self._connection.answering() as redis:
            versions = sorted((_text(key) for key in redis.hkeys(self._manifests(product))), reverse=True)
        if not versions:
            raise self._unknown(product)
        return versions

    def history(self, product: str) -> list[str]:
        """The product's versions as they were activated, the active one first: what `rollback` goes back through."""
        with self._connection.answering() as redis:
            return [_text(version) for version in redis.lrange(self._history(product), 0, -1)]

    def all_active(self) -> dict[str, str]:
        """The active version of every product, in one round trip."""
        with self._connection.answering() as redis:
            return {_text(key): _text(value) for key, value in redis.hgetall(self._active).items()}

    def active(self, product: str) -> str:
        """The product's active version.

        Raises:
            UnknownProduct: none is active.
        """
        with self._connection.answering() as redis:
            version = redis.hget(self._active, product)
        if version is None:
            raise self._unknown(product)
        return _text(version)

    def manifest(self, product: str, version: str) -> Manifest:
        """A version's manifest, without its arrays.

        Raises:
            UnknownVersion: the product has no such version.
            CorruptBundle: the manifest is damaged.
        """
        with self._connection.answering() as redis:
            text = redis.hget(self._manifests(product), version)
        if text is None:
            raise self._no_version(product, version)
        manifest = Manifest.from_json(text, f"manifest of {product} {version} in Redis at {self._address}")
        if (manifest.product, manifest.version) != (product, version):
            raise CorruptBundle(
                f"Redis at {self._address} has the manifest of {manifest.product} {manifest.version} "
                f"in the place of {product} {version}: publish the bundle again"
            )
        return manifest

    def bundle(self, product: str, version: str) -> Bundle:
        """A version whole, verified.

        Raises:
            UnknownVersion: the product has no such version.
            CorruptBundle: something of it is damaged or gone.
        """
        manifest = self.manifest(product, version)
        blobs = self._blobs(manifest, manifest.arrays)
        return decode(manifest, blobs, f"{product} {version} in Redis at {self._address}")

    def graphs(self, product: str, version: str) -> Int8Graphs | None:
        """The int8 graphs of a version without its bank; None where its recipe is in another precision.

        Raises:
            UnknownVersion: the product has no such version.
            CorruptBundle: the manifest or the graphs are damaged or gone.
        """
        manifest = self.manifest(product, version)
        if manifest.recipe.graphs_sha256 is None:
            return None
        blobs = self._blobs(manifest, graph_entries(manifest))
        return decode_graphs(manifest, blobs, f"{product} {version} in Redis at {self._address}")

    def publish(self, bundle: Bundle, *, activate: bool = True) -> Publication:
        """Store a version, and make it the active one. Readers see all of it or nothing.

        A version that is there already, whole, is not written again; one that was damaged is mended.

        Raises:
            CorruptBundle: bank and manifest contradict each other; nothing was changed.
        """
        blobs = encode(bundle)
        product, version = bundle.manifest.product, bundle.manifest.version
        if self._is_whole(product, version):
            with suppress(UnknownVersion):  # it was removed this moment
                return Publication(stored=False, activated=activate and self._activate(product, version))
        staging = f"{self._prefix}:staging:{uuid.uuid4().hex}"
        try:
            chunks = upload(self._connection, staging, blobs)
            activated = self._commit(staging, chunks, bundle.manifest, activate=activate)
        except BaseException:
            self._discard(staging)
            raise
        return Publication(stored=True, activated=activated)

    def activate(self, product: str, version: str) -> bool:
        """Make a published version the one that judges; whether that changed anything.

        The version is loaded and verified first, so that a damaged one never takes the place of a good one.

        Raises:
            UnknownProduct, UnknownVersion: not published; the pointer stays.
            CorruptBundle: damaged in Redis; the pointer stays.
        """
        if version not in self.versions(product):
            raise self._no_version(product, version)
        self.bundle(product, version)
        return self._activate(product, version)

    def rollback(self, product: str) -> str:
        """Activate the version that was active before, and return it.

        Like undo: a second rollback goes back one further, it does not return to the version that was rolled back
        from. That one is reached by `activate`. Two people who roll back at once from the same version go back once.

        Raises:
            UnknownProduct: nothing of the product is active.
            UnknownVersion: none was active before.
            CorruptBundle: the one before is damaged; the pointer stays.
        """
        current = self.active(product)
        before = self.history(product)[1:2]
        if not before:
            raise UnknownVersion(
                f"{product} has no version to roll back to: {current} is active, and none that judged before is left"
            )
        target = before[0]
        try:
            self.bundle(product, target)
        except UnknownVersion:
            if target in self.history(product):
                raise
            return self.rollback(product)  # it was removed this moment

        def go_back(pipe: Any) -> bool:
            newest = [_text(found) for found in pipe.lrange(self._history(product), 0, 1)]
            pipe.multi()
            if newest == [current, target]:
                pipe.lpop(self._history(product))
                pipe.hset(self._active, product, target)
            return newest == [current, target] or newest[:1] == [target]

        done = self._connection.transaction(go_back, self._active, self._history(product))
        return target if done else self.rollback(product)

    def remove(self, product: str, versions: Collection[str]) -> None:
        """Forget versions that do not judge, damaged ones too; `rollback` steps over them from now on. All or none.

        Raises:
            UnknownProduct, UnknownVersion: one is not published.
            VersionInUse: one is the active version.
        """
        published = self.versions(product)
        for version in versions:
            if version not in published:
                raise self._no_version(product, version)

        def forget(pipe: Any) -> bool:
            active = pipe.hget(self._active, product)
            if active is not None and _text(active) in versions:
                raise VersionInUse(f"{product} {_text(active)} judges: `chipsieve bank activate` another one first")
            left = [each for each in pipe.lrange(self._history(product), 0, -1) if _text(each) not in versions]
            is_last = {_text(each) for each in pipe.hkeys(self._manifests(product))} <= set(versions)
            pipe.multi()
            if is_last:  # of a product that never judged
                pipe.srem(f"{self._prefix}:products", product)
            pipe.hdel(self._manifests(product), *versions)
            pipe.unlink(self._history(product), *(self._arrays(product, version) for version in versions))
            if left:  # without neighbours that are the same: a step back leads to another version
                pipe.lpush(self._history(product), *(each for each, _ in reversed([*groupby(left)])))
            return True

        self._connection.transaction(forget, self._active, self._history(product), self._manifests(product))

    def _blobs(self, manifest: Manifest, entries: Sequence[ArrayEntry]) -> dict[str, bytes]:
        key = self._arrays(manifest.product, manifest.version)

        def read() -> dict[str, bytes]:
            return {entry.file: download(self._connection, key, entry.file, entry.size) for entry in entries}

        try:
            return read()
        except CorruptBundle:
            self.manifest(manifest.product, manifest.version)  # UnknownVersion where it was removed this moment …
            return read()  # … and whole where it was published again in it

    def _is_whole(self, product: str, version: str) -> bool:
        try:
            self.bundle(product, version)
        except (UnknownVersion, CorruptBundle):
            return False
        return True

    def _activate(self, product: str, version: str) -> bool:
        def move_pointer(pipe: Any) -> bool:
            current = pipe.hget(self._active, product)
            if not pipe.hexists(self._manifests(product), version):
                raise self._no_version(product, version)  # removed since it was verified
            pipe.multi()
            return self._queue_activation(pipe, product, version, current)

        return self._connection.transaction(move_pointer, self._active, self._manifests(product))

    def _queue_activation(self, pipe: Any, product: str, version: str, current: bytes | None) -> bool:
        if current is not None and _text(current) == version:
            return False
        pipe.hset(self._active, product, version)
        pipe.lpush(self._history(product), version)
        pipe.ltrim(self._history(product), 0, HISTORY_LENGTH - 1)
        return True

    def _commit(self, staging: str, chunks: int, manifest: Manifest, *, activate: bool) -> bool:
        product, version = manifest.product, manifest.version
        arrays = self._arrays(product, version)

        def make_visible(pipe: Any) -> bool:
            staged = pipe.hlen(staging)
            if not staged and pipe.hlen(arrays) == chunks and pipe.hexists(self._manifests(product), version):
                return activate  # the connection broke after Redis had committed: this is the second try
            if staged != chunks:
                raise BankUnavailable(
                    f"Redis at {self._address} lost {product} {version} on its way ({staged} of {chunks} chunks left): "
                    "give it memory and the policy noeviction, then publish again"
                )
            current = pipe.hget(self._active, product)
            pipe.multi()
            pipe.rename(staging, arrays)
            pipe.persist(arrays)
            pipe.hset(self._manifests(product), version, manifest.to_json())
            pipe.sadd(f"{self._prefix}:products", product)
            return activate and self._queue_activation(pipe, product, version, current)

        return self._connection.transaction(make_visible, staging, self._active)

    def _discard(self, staging: str) -> None:
        with suppress(BankUnavailable), self._connection.answering() as redis:  # else it expires by itself
            redis.unlink(staging)

    @property
    def empty_because(self) -> str:
        """What to say where no bank of any product is active."""
        return f"Redis at {self._address} has no active bank of any product: `chipsieve bank publish` a bundle"

    def _unknown(self, product: str) -> UnknownProduct:
        return UnknownProduct(
            f"Redis at {self._address} has no active bank of product {product!r}: `chipsieve bank publish` a bundle of "
            "it, or `chipsieve bank activate` a version"
        )

    @property
    def _active(self) -> str:
        return f"{self._prefix}:active"

    def _no_version(self, product: str, version: str) -> UnknownVersion:
        return UnknownVersion(
            f"{product} has no version {version} in Redis at {self._address}: see `chipsieve bank show {product}`"
        )

    # Products are quoted: one that is called "a:b" must not be another's version.
    def _history(self, product: str) -> str:
        return f"{self._prefix}:history:{quote(product, safe='')}"

    def _manifests(self, product: str) -> str:
        return f"{self._prefix}:manifests:{quote(product, safe='')}"

    def _arrays(self, product: str, version: str) -> str:
        return f"{self._prefix}:arrays:{quote(product, safe='')}:{version}"


def _text(value: bytes) -> str:
    return value.decode()
