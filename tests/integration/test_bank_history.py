import uuid
from itertools import groupby

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shared.bank.errors import UnknownProduct, UnknownVersion, VersionInUse
from shared.bank.store import BankStore
from tests.banks import assert_same, make
from tests.integration.valkey import Valkey

BUNDLES = {product: [make(product, seed=seed, minute=seed) for seed in range(3)] for product in ("one", "two")}
PRODUCTS = st.sampled_from(sorted(BUNDLES))
NUMBERS = st.integers(0, 2)


def test_publish_activate_and_rollback_behave_as_a_stack_of_immutable_versions(shared_valkey: Valkey) -> None:
    class Banks(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = BankStore(shared_valkey.settings, namespace=uuid.uuid4().hex)
            self.published: dict[str, set[str]] = {"one": set(), "two": set()}
            self.stack: dict[str, list[str]] = {"one": [], "two": []}

        @rule(product=PRODUCTS, number=NUMBERS, activate=st.booleans())
        def publish(self, product: str, number: int, activate: bool) -> None:
            bundle = BUNDLES[product][number]
            version = bundle.manifest.version
            done = self.store.publish(bundle, activate=activate)
            assert done.stored == (version not in self.published[product])
            assert done.activated == (activate and self.stack[product][-1:] != [version])
            self.published[product].add(version)
            if done.activated:
                self.stack[product].append(version)

        @rule(product=PRODUCTS, number=NUMBERS)
        def activate(self, product: str, number: int) -> None:
            version = BUNDLES[product][number].manifest.version
            if version not in self.published[product]:
                with pytest.raises((UnknownVersion, UnknownProduct)):
                    self.store.activate(product, version)
            elif self.store.activate(product, version):
                self.stack[product].append(version)
            else:
                assert self.stack[product][-1] == version

        @precondition(lambda self: any(self.stack.values()))
        @rule(product=PRODUCTS)
        def rollback(self, product: str) -> None:
            if len(self.stack[product]) < 2:
                with pytest.raises((UnknownVersion, UnknownProduct)):
                    self.store.rollback(product)
            else:
                self.stack[product].pop()
                assert self.store.rollback(product) == self.stack[product][-1]

        @rule(product=PRODUCTS, number=NUMBERS)
        def remove(self, product: str, number: int) -> None:
            version = BUNDLES[product][number].manifest.version
            if version not in self.published[product]:
                with pytest.raises((UnknownVersion, UnknownProduct)):
                    self.store.remove(product, [version])
            elif self.stack[product][-1:] == [version]:
                with pytest.raises(VersionInUse):
                    self.store.remove(product, [version])
            else:
                self.store.remove(product, [version])
                self.published[product].discard(version)
                left = [each for each in self.stack[product] if each != version]
                self.stack[product] = [each for each, _ in groupby(left)]

        @invariant()
        def the_store_says_what_the_model_says(self) -> None:
            assert self.store.all_active() == {p: stack[-1] for p, stack in self.stack.items() if stack}
            assert self.store.products() == sorted(p for p, versions in self.published.items() if versions)
            for product, versions in self.published.items():
                assert self.store.history(product) == self.stack[product][::-1]
                if versions:
                    assert self.store.versions(product) == sorted(versions, reverse=True)

        def teardown(self) -> None:
            for product, versions in self.published.items():
                for version in versions:
                    bundle = next(b for b in BUNDLES[product] if b.manifest.version == version)
                    assert_same(self.store.bundle(product, version).bank, bundle.bank)
            self.store.close()

    run_state_machine_as_test(
        Banks,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
