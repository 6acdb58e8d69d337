import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.extractor.errors import ImageUnavailable
from services.extractor.image_source import read_image
from shared.events import ImageCaptured

PICTURE = b"the encoded picture"
LIMIT = 1024


def captured(
    *, image_bytes: bytes | None = None, image_uri: str | None = None, sha256: str | None = None
) -> ImageCaptured:
    return ImageCaptured(
        event_id="e1",
        chip_id="c1",
        line_id="line-1",
        product="soic-8",
        captured_at=datetime(2026, 1, 1, tzinfo=UTC),
        sha256=sha256 or hashlib.sha256(PICTURE).hexdigest(),
        image_bytes=image_bytes,
        image_uri=image_uri,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_an_inline_picture_is_its_bytes() -> None:
    assert read_image(captured(image_bytes=PICTURE), root=None, max_bytes=LIMIT) == PICTURE


def test_a_referenced_picture_is_read_from_below_the_root(root: Path) -> None:
    path = root / "line 1" / "chip.png"
    path.parent.mkdir()
    path.write_bytes(PICTURE)
    assert read_image(captured(image_uri=path.as_uri()), root=root, max_bytes=LIMIT) == PICTURE


def test_a_picture_that_is_not_the_captured_one_is_unavailable() -> None:
    with pytest.raises(ImageUnavailable, match="sha256"):
        read_image(captured(image_bytes=PICTURE + b"!"), root=None, max_bytes=LIMIT)


def test_an_event_without_a_picture_is_unavailable() -> None:
    with pytest.raises(ImageUnavailable, match="neither image_bytes nor image_uri"):
        read_image(captured(), root=None, max_bytes=LIMIT)


def test_references_are_refused_where_no_root_is_set(root: Path) -> None:
    with pytest.raises(ImageUnavailable, match="CHIPSIEVE_IMAGES__ROOT"):
        read_image(captured(image_uri=(root / "chip.png").as_uri()), root=None, max_bytes=LIMIT)


def test_a_missing_file_is_unavailable(root: Path) -> None:
    with pytest.raises(ImageUnavailable, match="cannot be read"):
        read_image(captured(image_uri=(root / "gone.png").as_uri()), root=root, max_bytes=LIMIT)


def test_a_folder_is_no_picture(root: Path) -> None:
    with pytest.raises(ImageUnavailable, match="not a file"):
        read_image(captured(image_uri=root.as_uri()), root=root, max_bytes=LIMIT)


@pytest.mark.parametrize("address", ["http://camera", "http://", "file://nas", ""])
def test_only_local_files_are_read_be_there_one_of_that_path(root: Path, address: str) -> None:
    (root / "chip.png").write_bytes(PICTURE)
    with pytest.raises(ImageUnavailable, match="is no local file"):
        read_image(captured(image_uri=f"{address}{root}/chip.png"), root=root, max_bytes=LIMIT)


def test_a_local_file_may_name_this_host(root: Path) -> None:
    (root / "chip.png").write_bytes(PICTURE)
    named = captured(image_uri=f"file://localhost{root}/chip.png")
    assert read_image(named, root=root, max_bytes=LIMIT) == PICTURE


def test_a_path_that_no_file_can_have_is_unavailable(root: Path) -> None:
    with pytest.raises(ImageUnavailable, match="cannot be read"):
        read_image(captured(image_uri="file:///a%00b"), root=root, max_bytes=LIMIT)


def test_dots_do_not_lead_out_of_the_root(root: Path) -> None:
    (root.parent / "secret.png").write_bytes(PICTURE)
    with pytest.raises(ImageUnavailable, match="outside the image root"):
        read_image(captured(image_uri=f"{root.as_uri()}/../secret.png"), root=root, max_bytes=LIMIT)


def test_a_link_does_not_lead_out_of_the_root(root: Path) -> None:
    (root.parent / "secret.png").write_bytes(PICTURE)
    (root / "link.png").symlink_to(root.parent / "secret.png")
    with pytest.raises(ImageUnavailable, match="outside the image root"):
        read_image(captured(image_uri=(root / "link.png").as_uri()), root=root, max_bytes=LIMIT)


def test_a_file_as_large_as_the_limit_is_read(root: Path) -> None:
    (root / "large.png").write_bytes(PICTURE)
    large = captured(image_uri=(root / "large.png").as_uri())
    assert read_image(large, root=root, max_bytes=len(PICTURE)) == PICTURE


def test_a_file_above_the_limit_is_refused_with_the_limit_named(root: Path) -> None:
    (root / "huge.png").write_bytes(bytes(LIMIT + 1))
    with pytest.raises(ImageUnavailable, match=f"larger than {LIMIT} bytes"):
        read_image(captured(image_uri=(root / "huge.png").as_uri()), root=root, max_bytes=LIMIT)


@pytest.mark.parametrize("uri", ["file://[nas/chip.png", "file://℀/chip.png"])
def test_a_reference_that_is_no_address_says_so(root: Path, uri: str) -> None:
    with pytest.raises(ImageUnavailable, match="is no address"):
        read_image(captured(image_uri=uri), root=root, max_bytes=LIMIT)
