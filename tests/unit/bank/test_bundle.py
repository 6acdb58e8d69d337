import hashlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bank.bundle import Bundle, decode, encode
from shared.bank.bundle_folder import MANIFEST, read_bundle, write_bundle
from shared.bank.errors import CorruptBundle
from shared.bank.manifest import ArrayEntry, Manifest, _canonical, content_hash
from shared.vision.memory_bank import LayerBank
from shared.vision.recipe import Layer, Recipe
from tests.banks import EPOCH, assert_same, make, make_graphs

LAYERS = st.builds(
    Layer,
    tap=st.sampled_from(["b2", "b12", "b14"]),
    input_size=st.integers(32, 640),
    pool=st.sampled_from([1, 3, 5]),
    metric=st.sampled_from(["cosine", "l2", "learnt", "place"]),
    top_fraction=st.floats(0.001, 1.0),
)


@settings(max_examples=50, deadline=None)
@given(
    product=st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()),
    layers=st.lists(LAYERS, min_size=1, max_size=3),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    minute=st.integers(0, 10**6),
)
def test_a_bundle_comes_back_as_it_was_written(
    product: str, layers: list[Layer], shape: tuple[int, int], threshold: float, minute: int
) -> None:
    bundle = make(
        product,
        recipe=Recipe(layers=tuple(layers)),
        vectors=shape[0],
        channels=shape[1],
        threshold=threshold,
        minute=minute,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder) / "bundle", bundle)
        read = read_bundle(Path(folder) / "bundle")
    assert read.manifest == bundle.manifest
    assert read.manifest.to_json() == bundle.manifest.to_json()
    assert_same(read.bank, bundle.bank)


def test_the_version_is_the_time_and_a_hash_of_the_content() -> None:
    bundle = make(seed=1)
    time, content = bundle.manifest.version.split("-")
    assert time == f"{EPOCH:%Y%m%dT%H%M%S}"
    assert bundle.bank.version == bundle.manifest.version
    assert make(seed=1, minute=1).manifest.version.split("-")[1] == content
    assert make(seed=2).manifest.version.split("-")[1] != content
    assert make(seed=1, threshold=3.6).manifest.version.split("-")[1] != content


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), float("-inf")])
def test_a_threshold_that_is_not_finite_makes_no_bundle(threshold: float) -> None:
    with pytest.raises(CorruptBundle, match=r"finite|JSON"):
        make(threshold=threshold)


def test_scales_that_are_not_finite_make_no_bundle() -> None:
    layer = LayerBank(np.zeros((2, 3), np.int8), np.array([1, np.nan], np.float32))
    with pytest.raises(CorruptBundle, match=r"layer0\.scales\.npy has numbers that are not finite"):
        make(layers=(layer, layer))


def test_a_feature_space_that_does_not_follow_from_the_recipe_makes_no_bundle() -> None:
    with pytest.raises(CorruptBundle, match="says feature space 0123456789abcdef, its recipe and weights give"):
        make(feature_space="0123456789abcdef")


@pytest.mark.parametrize("product", ["", "two\nlines", "x" * 201])
def test_a_product_name_that_nobody_could_type_makes_no_bundle(product: str) -> None:
    with pytest.raises(CorruptBundle, match="field product"):
        make(product)


@pytest.mark.parametrize("file", ["layer0.values.npy", "layer1.scales.npy"])
def test_one_flipped_bit_is_found(written: Path, file: str) -> None:
    data = bytearray((written / file).read_bytes())
    data[-1] ^= 1
    (written / file).write_bytes(data)
    with pytest.raises(CorruptBundle, match=f"{file} does not have the sha256"):
        read_bundle(written)


def test_a_truncated_array_is_found(written: Path) -> None:
    data = (written / "layer0.values.npy").read_bytes()
    (written / "layer0.values.npy").write_bytes(data[:-1])
    with pytest.raises(CorruptBundle, match=r"layer0\.values\.npy is missing or has not the"):
        read_bundle(written)


def test_a_missing_array_is_found(written: Path) -> None:
    (written / "layer1.values.npy").unlink()
    with pytest.raises(CorruptBundle, match=r"layer1\.values\.npy is missing"):
        read_bundle(written)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("threshold", 9.0, "it was changed"),
        ("product", "another", "it was changed"),
        ("created_at", "2020-01-01T00:00:00+00:00", "it was changed"),
        ("created_at", "0001-01-01T00:00:00+23:00", "which is no time"),
        ("threshold", "high", "field threshold"),
        ("calibration", {"layers": [{"patch": {"mean": 0, "std": 0}}]}, r"patch: .*deviation of 0\.0: it is above 0"),
        ("recipe", {"layers": [{"tap": "b12"}]}, "it was changed"),
        ("recipe", {"layers": []}, "it was changed"),
        ("recipe", {"layers": [{"tap": "b12", "weight": -1}]}, r"field recipe\.layers\.0: .*has weight -1"),
        ("recipe", {"layers": [{"tap": "b12", "pool": 0}]}, r"field recipe\.layers\.0: .*has pool 0"),
        ("recipe", {"layers": [{"tap": "b12", "top_fraction": 5}]}, r"field recipe\.layers\.0: .*top_fraction 5"),
        ("recipe", {"layers": [{"tap": "b12", "metric": "hamming"}]}, r"field recipe\.layers\.0\.metric"),
        ("unheard_of", 1, "field unheard_of"),
        ("format", "chipsieve-bank/2", "upgrade, or train again"),
        ("version", "latest", "field version"),
        ("feature_space", "../../etc/passwd", "field feature_space"),
    ],
)
def test_a_manifest_that_was_changed_is_found(written: Path, field: str, value: object, message: str) -> None:
    document = json.loads((written / MANIFEST).read_text())
    (written / MANIFEST).write_text(json.dumps(document | {field: value}))
    with pytest.raises(CorruptBundle, match=message):
        read_bundle(written)


@pytest.mark.parametrize("weights", [(), (0.0,), (0.0, 0.0)])
def test_a_recipe_by_which_nothing_could_be_judged_makes_no_bundle(weights: tuple[float, ...]) -> None:
    recipe = Recipe(layers=tuple(Layer(tap="b12", weight=weight) for weight in weights))
    with pytest.raises(CorruptBundle, match=f"none of the recipe's {len(weights)} layers has a weight above 0"):
        make(recipe=recipe)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "\x00\xff", '{"format": NaN}', '{"threshold": 1e999}', "[" * 100_000]
)
def test_a_manifest_that_is_no_json_object_is_found(written: Path, text: str) -> None:
    (written / MANIFEST).write_text(text)
    with pytest.raises(CorruptBundle, match=r"manifest\.json"):
        read_bundle(written)


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "entry", "message"),
    [
        (pickled(), {"dtype": "|O", "shape": [1]}, r"is \|O of 1 dimensions"),
        (pickled(), {}, r"holds \|O"),
        (b"not an array at all", {}, "is not an array"),
        (
            npy(np.zeros((5, 3), np.int16)),
            {"dtype": "<i2"},
            r"layer0\.values\.npy is <i2 of 2 dimensions, .* \|i1 of 2",
        ),
        (npy(np.zeros((5, 3), "<U1")), {"dtype": "<U1"}, r"is <U1 of 2 dimensions, and has to be \|i1"),
        (npy(np.zeros((5, 3), bool)), {"dtype": "|b1"}, r"is \|b1 of 2 dimensions, and has to be \|i1"),
        (npy(np.zeros((5, 3), np.void)), {"dtype": "|V8"}, r"is \|V8 of 2 dimensions, and has to be \|i1"),
        (npy(np.int8(1)), {"shape": []}, "of 0 dimensions, and has to be .* of 2"),
        (npy(np.zeros((5, 3, 1), np.int8)), {"shape": [5, 3, 1]}, "of 3 dimensions, and has to be .* of 2"),
        (npy(np.zeros((5, 3), np.int16)), {}, "holds <i2"),
        (npy(np.zeros((4, 3), np.int8)), {"shape": [4, 3]}, "as many float32 scales"),
        (npy(np.zeros((4, 3), np.int8)), {}, r"holds \|i1 \(4, 3\)"),
        (npy(np.zeros((5, 3), np.int8)) + b"more", {}, "bytes of numbers"),
        (npy(np.zeros((5, 3), np.int8))[:-4], {}, "bytes of numbers"),
        (npy(np.asfortranarray(np.zeros((5, 3), np.int8))), {}, "holds"),
    ],
)
def test_arrays_with_a_right_hash_are_still_not_trusted(data: bytes, entry: dict[str, object], message: str) -> None:
    bundle = make()
    blobs = encode(bundle) | {"layer0.values.npy": data}
    manifest = with_array(bundle, 0, data, entry)
    with pytest.raises(CorruptBundle, match=message):
        decode(manifest, blobs, "the bundle")


@pytest.mark.parametrize(
    ("scale", "complaint"),
    [
        (np.nan, r"layer0\.scales\.npy has numbers that are not finite"),
        (np.inf, r"layer0\.scales\.npy has numbers that are not finite"),
        (-1.0, "layer b12@256/3: a bank scales its vectors by numbers below zero"),
    ],
)
def test_scales_read_from_a_bundle_must_be_usable(scale: float, complaint: str) -> None:
    bundle = make()
    data = npy(np.array([scale, 1, 1, 1, 1], np.float32))
    manifest = with_array(bundle, 1, data, {})
    with pytest.raises(CorruptBundle, match=complaint):
        decode(manifest, encode(bundle) | {"layer0.scales.npy": data}, "the bundle")


def with_array(bundle: Bundle, position: int, data: bytes, entry: dict[str, object]) -> Manifest:
    """A consistent manifest that lists this file in place of the array at `position`."""
    listed = [array.model_dump() for array in bundle.manifest.arrays]
    listed[position] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} | entry
    return listing(bundle, tuple(ArrayEntry.model_validate(array) for array in listed))


def listing(bundle: Bundle, arrays: tuple[ArrayEntry, ...]) -> Manifest:
    """The bundle's manifest, consistent in itself, with these arrays."""
    kept = {field: getattr(bundle.manifest, field) for field in ("created_at", "weights_sha256", "upkeep", "training")}
    return Manifest.make(bundle.bank, **kept, arrays=arrays)


def test_an_array_too_many_or_too_few_is_found() -> None:
    bundle = make()
    one_layer = Recipe(layers=bundle.bank.recipe.layers[:1])
    short = make(recipe=one_layer)
    with pytest.raises(CorruptBundle, match=r"has no array 'layer1\.values\.npy'"):
        decode(listing(bundle, short.manifest.arrays), encode(short), "the bundle")
    with pytest.raises(CorruptBundle, match=r"layer1\.values\.npy'\] belong to nothing that the manifest describes"):
        decode(listing(short, bundle.manifest.arrays), encode(bundle), "the bundle")
    with pytest.raises(CorruptBundle, match="lists an array twice"):
        decode(listing(short, short.manifest.arrays + short.manifest.arrays[:1]), encode(short), "the bundle")


def test_a_manifest_of_a_recipe_with_fewer_fields_keeps_its_hash(written: Path) -> None:
    # As if it had been written before layers had a `top_fraction`: the default counts, the document is kept.
    document = json.loads((written / MANIFEST).read_text())
    for layer in document["recipe"]["layers"]:
        del layer["top_fraction"]
    document["version"] = f"{EPOCH:%Y%m%dT%H%M%S}-{content_hash(document)[:8]}"
    (written / MANIFEST).write_text(_canonical(document))
    read = read_bundle(written)
    assert read.bank.recipe.layers[0].top_fraction == 0.03
    assert read.manifest.to_json() == _canonical(document)


def test_an_array_whose_header_ends_in_the_middle_is_corrupt_though_its_checksum_is_right(written: Path) -> None:
    document = json.loads((written / MANIFEST).read_text())
    entry = next(entry for entry in document["arrays"] if entry["file"] == "layer0.values.npy")
    broken = (written / entry["file"]).read_bytes().replace(b"}", b" ", 1)
    (written / entry["file"]).write_bytes(broken)
    entry["sha256"] = hashlib.sha256(broken).hexdigest()
    document["version"] = f"{EPOCH:%Y%m%dT%H%M%S}-{content_hash(document)[:8]}"
    (written / MANIFEST).write_text(_canonical(document))
    with pytest.raises(CorruptBundle, match=r"layer0\.values\.npy is not an array"):
        read_bundle(written)


def test_int8_graphs_come_back_and_make_a_feature_space_of_their_own(tmp_path: Path) -> None:
    bundle, other = make(graphs=make_graphs()), make(graphs=make_graphs(b"other numbers"))
    write_bundle(tmp_path / "bundle", bundle)
    assert read_bundle(tmp_path / "bundle").graphs == bundle.graphs == make_graphs()
    spaces = {each.manifest.feature_space for each in (make(), bundle, other)}
    assert len(spaces) == 3


def test_a_bundle_without_graphs_says_nothing_of_them() -> None:
    assert "graphs_sha256" not in make().manifest.to_json()
    assert make().graphs is None


def test_graphs_that_are_not_the_recipes_are_found() -> None:
    bundle, other = make(graphs=make_graphs()), make(graphs=make_graphs(b"other numbers"))
    with pytest.raises(CorruptBundle, match=r"graphs of sha256 \w+, the recipe says \w+"):
        decode(listing(bundle, other.manifest.arrays), encode(other), "the bundle")
    with pytest.raises(CorruptBundle, match=r"has no array 'graph256\.topology\.npy'"):
        decode(listing(bundle, make().manifest.arrays), encode(make()), "the bundle")
    with pytest.raises(CorruptBundle, match=r"graph256\.topology\.npy.*belong to nothing"):
        decode(listing(make(), bundle.manifest.arrays), encode(bundle), "the bundle")
