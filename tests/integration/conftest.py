"""What tests of several parts start once: a Valkey alone, a bundle, a stage."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.cli.demo.render import render_chip
from shared.bank.store import BankStore
from tests.bad_pictures import encoded
from tests.integration.bank_caches import banks, clock, recipes, vandal  # noqa: F401 - fixtures
from tests.integration.valkey import Valkey
from tests.running_stage import records, start  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that the test may stop and start."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def store(shared_valkey: Valkey, namespace: str) -> Iterator[BankStore]:
    """A store of the test's own in the shared server."""
    with_own_keys = BankStore(shared_valkey.settings, namespace=namespace)
    yield with_own_keys
    with_own_keys.close()


TRAINED_PRODUCT = "soic-8"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the product, trained on a few rendered chips."""
    from services.trainer.train import train  # two seconds to import, for the few tests that want a bundle
    from shared.vision.recipe import DEFAULT_RECIPE

    folder = tmp_path_factory.mktemp("training")
    normal = folder / "normal"
    normal.mkdir()
    for seed in range(24):
        (normal / f"{seed:03}.png").write_bytes(_good_chip(1000 + seed))
    train(product=TRAINED_PRODUCT, normal=normal, out=folder / "bundle", recipe=DEFAULT_RECIPE)
    return folder / "bundle"


def _good_chip(seed: int) -> bytes:
    picture = render_chip(np.random.default_rng(seed), TRAINED_PRODUCT, None).picture
    return encoded(Image.fromarray(picture), "PNG")
