import hashlib
from pathlib import Path

from services.trainer.material.copies import digest_of
from services.trainer.material.pictures import find_pictures


def test_a_picture_has_the_digest_by_which_older_bundles_know_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    (file,) = find_pictures(tmp_path)
    assert digest_of(file) == hashlib.sha256(b"a picture").hexdigest()[:16]
