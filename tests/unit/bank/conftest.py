from pathlib import Path

import pytest

from shared.bank.bundle_folder import write_bundle
from tests.banks import make


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", make())
    return tmp_path / "bundle"
