import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.bank.bundle import Bundle
from shared.bank.chunks import upload
from shared.bank.connection import Connection
from shared.bank.errors import BankUnavailable, CorruptBundle, UnknownProduct, UnknownVersion
from shared.bank.store import BankStore
from shared.errors import ConfigurationError, NotReady, Uninspectable
from shared.settings import RedisSettings
from tests.banks import assert_same, make, make_bank
from tests.integration.valkey import Valkey


def test_a_published_bundle_comes_back_and_judges(store: BankStore) -> None:
    bundle = make()
    done = store.publish(bundle)
    version = bundle.manifest.version
    assert (done.stored, done.activated) == (True, True)
    assert store.products() == ["chip"]
    assert store.versions("chip") == [version]
    assert store.active("chip") == version
    assert store.all_active() == {"chip": version}
    assert store.manifest("chip", version) == bundle.manifest
    assert_same(store.bundle("chip", version).bank, bundle.bank)


def test_arrays_larger_than_a_chunk_come_back(store: BankStore) -> None:
    bundle = make(vectors=30_000, channels=192)  # 5.8 MB a layer: more chunks than one round trip takes
    store.publish(bundle)
    assert_same(store.bundle("chip", bundle.manifest.version).bank, bundle.bank)


def test_publishing_the_same_version_twice_changes_nothing(store: BankStore) -> None:
    store.publish(make(seed=1))
    done = store.publish(make(seed=1))
    assert (done.stored, done.activated) == (False, False)
    assert store.history("chip") == [make(seed=1).manifest.version]


def test_publishing_an_older_version_again_activates_it(store: BankStore) -> None:
    old, new = make(seed=1), make(seed=2, minute=1)
    store.publish(old)
    store.publish(new)
    done = store.publish(old)
    assert (done.stored, done.activated) == (False, True)
    assert store.active("chip") == old.manifest.version


def test_a_version_can_be_published_without_judging(store: BankStore) -> None:
    old, new = make(seed=1), make(seed=2, minute=1)
    store.publish(old)
    assert not store.publish(new, activate=False).activated
    assert store.active("chip") == old.manifest.version
    assert store.versions("chip") == [new.manifest.version, old.manifest.version]


def test_a_product_of_which_nothing_is_active_is_unknown(store: BankStore) -> None:
    store.publish(make(), activate=False)
    with pytest.raises(UnknownProduct, match=r"no active bank of product 'chip'.*activate"):
        store.active("chip")


def test_an_unknown_product_is_uninspectable_and_no_outage(store: BankStore) -> None:
    for ask in (store.active, store.versions, store.rollback):
        with pytest.raises(UnknownProduct, match="'ghost'") as caught:
            ask("ghost")
        assert isinstance(caught.value, Uninspectable)
        assert not isinstance(caught.value, NotReady)
    with pytest.raises(UnknownProduct):
        store.activate("ghost", "20261124T161500-00000000")


@pytest.mark.parametrize("product", ["a:b", "a", "a:b:c", "*", "74HC/00 [rev {B}]", "芯片", "%3A"])
def test_products_of_any_name_do_not_disturb_each_other(store: BankStore, product: str) -> None:
    others = [make("a:b:active", seed=1), make("a%3Ab", seed=2), make("b", seed=3)]
    for other in others:
        store.publish(other)
    bundle = make(product, seed=4)
    store.publish(bundle)
    assert_same(store.bundle(product, store.active(product)).bank, bundle.bank)
    for other in others:
        assert store.versions(other.manifest.product) == [other.manifest.version]


def test_activating_an_unknown_version_is_refused_and_the_pointer_stays(store: BankStore) -> None:
    store.publish(make())
    with pytest.raises(UnknownVersion, match=r"no version 20200101T000000-00000000.*bank show chip"):
        store.activate("chip", "20200101T000000-00000000")
    assert store.active("chip") == make().manifest.version


def test_a_bundle_that_contradicts_itself_is_refused_and_leaves_nothing(store: BankStore) -> None:
    with pytest.raises(CorruptBundle):
        store.publish(Bundle(make().manifest, make_bank(threshold=0.5)))
    assert store.products() == []


def test_rollback_goes_back_step_by_step_and_never_forward(store: BankStore) -> None:
    first, second, third = (make(seed=seed, minute=seed) for seed in range(3))
    for bundle in (first, second, third):
        store.publish(bundle)
    assert store.rollback("chip") == second.manifest.version
    assert store.rollback("chip") == first.manifest.version
    with pytest.raises(UnknownVersion, match="none that judged before is left"):
        store.rollback("chip")
    assert store.active("chip") == first.manifest.version
    store.activate("chip", third.manifest.version)
    assert store.rollback("chip") == first.manifest.version


def damage_an_array(valkey: Valkey, namespace: str, bundle: Bundle) -> None:
    key = f"{namespace}:bank:arrays:{bundle.manifest.product}:{bundle.manifest.version}"
    with valkey.client() as client:
        assert client.hexists(key, "layer0.values.npy:0")
        client.hset(key, "layer0.values.npy:0", b"x" * bundle.manifest.arrays[0].size)


def evict_an_array(valkey: Valkey, namespace: str, bundle: Bundle) -> None:
    with valkey.client() as client:
        client.delete(f"{namespace}:bank:arrays:{bundle.manifest.product}:{bundle.manifest.version}")


def damage_the_manifest(valkey: Valkey, namespace: str, bundle: Bundle) -> None:
    key = f"{namespace}:bank:manifests:{bundle.manifest.product}"
    with valkey.client() as client:
        client.hset(key, bundle.manifest.version, bundle.manifest.to_json().replace("3.5", "0.5"))


def swap_the_manifest(valkey: Valkey, namespace: str, bundle: Bundle) -> None:
    with valkey.client() as client:
        key = f"{namespace}:bank:manifests:{bundle.manifest.product}"
        client.hset(key, bundle.manifest.version, make("another").manifest.to_json())


DAMAGE = pytest.mark.parametrize(
    "damage", [damage_an_array, evict_an_array, damage_the_manifest, swap_the_manifest], ids=lambda way: way.__name__
)
Damage = Callable[[Valkey, str, Bundle], None]


@DAMAGE
def test_what_was_damaged_in_redis_is_never_loaded_or_activated(
    shared_valkey: Valkey, namespace: str, store: BankStore, damage: Damage
) -> None:
    bad, good = make(seed=1), make(seed=2, minute=1)
    store.publish(bad)
    store.publish(good)
    damage(shared_valkey, namespace, bad)
    for act in (store.bundle, store.activate):
        with pytest.raises(CorruptBundle, match=r"127\.0\.0\.1"):
            act("chip", bad.manifest.version)
    with pytest.raises(CorruptBundle):
        store.rollback("chip")
    assert store.active("chip") == good.manifest.version


@DAMAGE
def test_publishing_again_mends_what_was_damaged(
    shared_valkey: Valkey, namespace: str, store: BankStore, damage: Damage
) -> None:
    bundle = make()
    store.publish(bundle)
    damage(shared_valkey, namespace, bundle)
    assert store.publish(bundle).stored
    assert_same(store.bundle("chip", bundle.manifest.version).bank, bundle.bank)


def test_a_publish_that_dies_half_way_leaves_nothing_visible_and_cleans_up(
    shared_valkey: Valkey, namespace: str, store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make(seed=1), make(seed=2, minute=1)
    store.publish(old)

    def killed(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as death:
        death.setattr(BankStore, "_commit", killed)
        death.setattr(BankStore, "_discard", lambda *_: None)  # the dead clean up nothing
        with pytest.raises(KeyboardInterrupt):
            store.publish(new)
    assert store.versions("chip") == [old.manifest.version]
    assert store.active("chip") == old.manifest.version
    with shared_valkey.client() as client:
        leftovers = client.keys(f"{namespace}:bank:staging:*")
        assert [0 < client.ttl(key) <= 600 for key in leftovers] == [True]
    store.publish(new)
    assert_same(store.bundle("chip", store.active("chip")).bank, new.bank)
    with shared_valkey.client() as client:
        assert client.ttl(f"{namespace}:bank:arrays:chip:{new.manifest.version}") == -1


def test_a_publish_that_fails_cleans_up_at_once(
    shared_valkey: Valkey, namespace: str, store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(BankStore, "_commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.publish(make())
    with shared_valkey.client() as client:
        assert client.keys(f"{namespace}:*") == []


def test_arrays_that_vanish_on_their_way_are_not_made_visible(
    shared_valkey: Valkey, store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload_and_lose(connection: Connection, key: str, blobs: dict[str, bytes]) -> int:
        chunks = upload(connection, key, blobs)
        with shared_valkey.client() as client:
            client.delete(key)
        return chunks

    monkeypatch.setattr("shared.bank.store.upload", upload_and_lose)
    with pytest.raises(BankUnavailable, match=r"lost chip .* on its way.*noeviction"):
        store.publish(make())
    assert store.products() == []


def test_a_transaction_whose_answer_was_lost_is_not_done_twice(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = store._connection.transaction

    def twice(queue: Callable[[Any], bool], *watched: str) -> bool:
        once(queue, *watched)
        return once(queue, *watched)

    monkeypatch.setattr(store._connection, "transaction", twice)
    first, second, third = (make(seed=seed, minute=seed) for seed in range(3))
    for bundle in (first, second, third):
        store.publish(bundle)
    versions = [bundle.manifest.version for bundle in (third, second, first)]
    assert store.history("chip") == versions
    assert store.rollback("chip") == versions[1]
    assert store.history("chip") == versions[1:]
    store.activate("chip", versions[0])
    assert store.history("chip") == versions


def test_a_removed_version_leaves_no_key(store: BankStore, shared_valkey: Valkey, namespace: str) -> None:
    first, second = (make(seed=seed, minute=seed) for seed in range(2))
    store.publish(second)
    with Redis.from_url(shared_valkey.url) as client:
        before = sorted(client.keys(f"{namespace}:*"))
        store.publish(first, activate=False)
        store.remove("chip", [first.manifest.version])
        assert sorted(client.keys(f"{namespace}:*")) == before


def test_a_version_that_is_removed_while_it_is_verified_does_not_judge(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make(seed=seed, minute=seed) for seed in range(2))
    store.publish(second)
    store.publish(first, activate=False)
    verify = store.bundle

    def verify_slowly(product: str, version: str) -> Bundle:
        verified = verify(product, version)
        store.remove(product, [version])
        return verified

    monkeypatch.setattr(store, "bundle", verify_slowly)
    with pytest.raises(UnknownVersion, match="has no version"):
        store.activate("chip", first.manifest.version)
    assert store.active("chip") == second.manifest.version


def test_readers_see_whole_versions_only_while_others_publish(shared_valkey: Valkey, namespace: str) -> None:
    bundles = [make(seed=seed, minute=seed, vectors=500, channels=64) for seed in range(12)]
    done = threading.Event()
    failures: list[BaseException] = []
    seen = set()

    def publish(mine: list[Bundle]) -> None:
        try:
            with_own_connection = BankStore(shared_valkey.settings, namespace=namespace)
            for bundle in mine:
                with_own_connection.publish(bundle)
            with_own_connection.close()
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        reader = BankStore(shared_valkey.settings, namespace=namespace)
        try:
            while not done.is_set():
                for product, version in reader.all_active().items():
                    seen.add(reader.bundle(product, version).bank.version)
        except BaseException as error:
            failures.append(error)
        reader.close()

    # Two publishers of the same versions in opposite order, and two readers.
    publishers = [threading.Thread(target=publish, args=(order,)) for order in (bundles, bundles[::-1])]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in (*readers, *publishers):
        thread.start()
    for thread in publishers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert failures == []
    assert seen <= {bundle.manifest.version for bundle in bundles}
    store = BankStore(shared_valkey.settings, namespace=namespace)
    assert len(store.versions("chip")) == len(bundles)
    assert store.history("chip")[0] == store.active("chip")
    store.close()


def test_a_redis_that_is_not_there_is_an_outage_and_no_unknown_product(valkey: Valkey) -> None:
    store = BankStore(valkey.settings)
    bundle = make()
    store.publish(bundle)
    valkey.stop()
    for ask in (
        store.products,
        store.all_active,
        lambda: store.active("chip"),
        lambda: store.versions("chip"),
        lambda: store.bundle("chip", bundle.manifest.version),
        lambda: store.publish(bundle),
        lambda: store.activate("chip", bundle.manifest.version),
        lambda: store.rollback("chip"),
    ):
        with pytest.raises(
            BankUnavailable, match=r"127\.0\.0\.1:\d+ cannot be reached.*CHIPSIEVE_REDIS__URL"
        ) as caught:
            ask()
        assert isinstance(caught.value, NotReady)
        assert not isinstance(caught.value, Uninspectable)
    valkey.start()
    assert_same(store.bundle("chip", store.active("chip")).bank, bundle.bank)
    store.close()


def test_a_redis_that_refuses_is_an_outage_and_says_why(valkey: Valkey) -> None:
    store = BankStore(valkey.settings)
    with valkey.client() as client:
        client.config_set("maxmemory", "1mb")
    with pytest.raises(BankUnavailable, match=r"refused.*maxmemory"):
        store.publish(make())
    with valkey.client() as client:
        client.config_set("maxmemory", "0")
        client.config_set("requirepass", "secret")
    with pytest.raises(BankUnavailable, match="Authentication required"):
        BankStore(valkey.settings).products()
    store.close()


def test_an_address_that_is_none_is_a_configuration_error_that_keeps_the_password() -> None:
    with pytest.raises(ConfigurationError, match="CHIPSIEVE_REDIS__URL") as caught:
        BankStore(RedisSettings(url="http://user:secret@host:80"))
    assert "secret" not in str(caught.value)
