"""Backbones besides the built-in one. All are tiny or untrained: what is tested is that they are wired right."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from shared.vision.backbone import load_backbone
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.engines.loading import load_engine
from shared.vision.errors import BadCheckpoint, UnknownBackbone
from shared.vision.keras_applications import APPLICATIONS, Application, Scaling
from shared.vision.keras_networks import build_application
from shared.vision.recipe import Layer, Recipe
from shared.vision.tensorflow_quietly import keras
from tests.unit.vision.rendered_pictures import chip, ramp

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own, saving
    pytest.mark.usefixtures("converted_here"),
]

PICTURES = np.stack([ramp(64), chip(64)])


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "line7"
    keras.utils.set_random_seed(0)
    pixels = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    early = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="early")(scaled)
    late = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="late")(early)
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(late))
    model = keras.Model(pixels, logits)
    model.export(path, verbose=False)
    np.savez(
        path.parent / "truth.npz", early=keras.Model(pixels, early)(PICTURES), late=keras.Model(pixels, late)(PICTURES)
    )
    return path


def test_a_saved_model_is_tapped_inside_its_serving_function(saved_model: Path) -> None:
    backbone = load_backbone(str(saved_model))
    tap = next(name for name in backbone.taps if "late" in name and name.endswith("Relu"))
    truth = np.load(saved_model.parent / "truth.npz")["late"]
    assert backbone.grids(64)[tap] == (16, 16, 6)
    np.testing.assert_allclose(keras.Model(backbone.model.inputs[0], backbone.tap(tap))(PICTURES), truth, atol=1e-6)


def test_engines_agree_on_a_saved_model(saved_model: Path, cache_dir: Path) -> None:
    tap = next(name for name in load_backbone(str(saved_model)).taps if "early" in name and name.endswith("Relu"))
    recipe = Recipe(backbone=str(saved_model), layers=(Layer(tap=tap, input_size=64, pool=1),))
    truth = np.load(saved_model.parent / "truth.npz")["early"]
    for kind in ("openvino", "tensorflow"):
        features = load_engine(kind, recipe, threads=1, cache_dir=cache_dir).features(PICTURES, 64)
        np.testing.assert_allclose(features[recipe.layers[0].name], truth, atol=1e-5)


def test_other_weights_make_another_feature_space(saved_model: Path) -> None:
    before = backbone_weights_sha256(str(saved_model))
    variables = next((saved_model / "variables").glob("*.data*"))
    variables.write_bytes(variables.read_bytes()[:-1] + b"\x01")
    backbone_weights_sha256.cache_clear()
    assert backbone_weights_sha256(str(saved_model)) != before


def test_a_saved_model_that_takes_no_pictures_is_refused(tmp_path: Path) -> None:
    numbers = keras.Input((4,))
    keras.Model(numbers, keras.layers.Dense(1)(numbers)).export(tmp_path / "numbers", verbose=False)
    with pytest.raises(BadCheckpoint, match="does not take one batch of RGB pictures"):
        load_backbone(str(tmp_path / "numbers"))


def test_engines_agree_on_a_network_of_keras_with_random_weights(cache_dir: Path) -> None:
    recipe = Recipe(backbone="keras:MobileNetV2:random", layers=(Layer(tap="block_3_expand_relu", input_size=64),))
    found = [
        load_engine(kind, recipe, threads=1, cache_dir=cache_dir).features(PICTURES, 64)[recipe.layers[0].name]
        for kind in ("openvino", "tensorflow")
    ]
    assert found[0].shape == (2, 16, 16, 144)
    assert found[0].std() > 0.01
    np.testing.assert_allclose(found[0], found[1], atol=1e-4 * np.abs(found[0]).max())


def test_missing_weights_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    backbone_weights_sha256.cache_clear()
    with pytest.raises(BadCheckpoint, match=r"bring vgg16_weights\S+notop.h5 to .* or ask for keras:VGG16:random"):
        load_backbone("keras:VGG16")


def test_weights_in_keras_s_cache_are_used_and_known_by_their_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """EfficientNet's graph with ImageNet weights has a layer more than without."""
    application = APPLICATIONS["EfficientNetB0"]
    original = build_application(application, None)
    file = tmp_path / "models" / application.weights_file
    file.parent.mkdir()
    original.save_weights(tmp_path / "w.weights.h5")
    file.write_bytes((tmp_path / "w.weights.h5").read_bytes())
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    backbone_weights_sha256.cache_clear()
    loaded: list[Path] = []
    monkeypatch.setattr(keras.Model, "load_weights", lambda model, path, **_: loaded.append(Path(path)))

    backbone = load_backbone("keras:EfficientNetB0")

    assert loaded == [file]
    assert backbone.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(backbone.model.layers) == len(original.layers) + 1


@pytest.mark.parametrize(
    ("scaling", "theirs"),
    [
        ("-1..1", keras.applications.mobilenet_v2),
        ("imagenet", keras.applications.densenet),
        ("bgr", keras.applications.vgg16),
    ],
)
def test_pixels_are_scaled_as_keras_scales_them(scaling: Scaling, theirs: object) -> None:
    model = build_application(Application("VGG16", scaling, ""), None)
    scaled = keras.Model(model.inputs[0], model.get_layer("scaled").output)(PICTURES)
    expected = theirs.preprocess_input(PICTURES.astype(np.float32))
    np.testing.assert_allclose(scaled, expected, atol=1e-4)


def test_every_network_of_keras_is_known() -> None:
    theirs = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(APPLICATIONS) == theirs


def test_an_unknown_network_of_keras_is_refused_with_the_choices() -> None:
    with pytest.raises(UnknownBackbone, match="no 'Nothing'; choose among ConvNeXtBase"):
        load_backbone("keras:Nothing")


def test_a_network_of_one_size_refuses_a_recipe_of_another(tmp_path: Path, cache_dir: Path) -> None:
    pixels = keras.Input((32, 32, 3))
    keras.Model(pixels, keras.layers.Conv2D(2, 3, name="edges")(pixels)).save(tmp_path / "small.keras")
    recipe = Recipe(backbone=str(tmp_path / "small.keras"), layers=(Layer(tap="edges", input_size=64),))
    with pytest.raises(UnknownBackbone, match="takes pictures of 32 x 32 pixels alone"):
        load_engine("tensorflow", recipe)
