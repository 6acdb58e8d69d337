import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.vision.backbone import load_backbone
from shared.vision.backbone_weights import backbone_weights_sha256
from shared.vision.errors import BadCheckpoint, UnknownBackbone
from shared.vision.tensorflow_quietly import keras
from tests.unit.vision.rendered_pictures import chip, ramp

GOLDEN = Path(__file__).parent / "golden" / "efficientnet_lite0_logits.npz"
"""Logits of the two pictures by the original, efficientnet-lite-pytorch 0.1.0 on PyTorch 2.15, in float64."""

PICTURES = np.stack([ramp(224), chip(224)])


# In float64 what is left is the rounding of the folded weights; in float32 the order of sums on this CPU comes on top.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 2e-5), ("float32", 6e-5)])
def test_logits_are_those_of_the_original_network(dtype: str, tolerance: float) -> None:
    original = np.load(GOLDEN)
    logits = load_backbone("efficientnet-lite0", dtype).model(PICTURES, training=False).numpy()
    assert np.abs(logits - np.stack([original["ramp"], original["chip"]])).max() <= tolerance


def test_taps_are_the_outputs_of_blocks() -> None:
    backbone = load_backbone("efficientnet-lite0")
    model = keras.Model(backbone.model.inputs[0], {name: backbone.tap(name) for name in ("b2", "b4", "b7", "b14")})
    shapes = {name: tuple(output.shape) for name, output in model(PICTURES[:1], training=False).items()}
    assert shapes == {"b2": (1, 56, 56, 24), "b4": (1, 28, 28, 40), "b7": (1, 14, 14, 80), "b14": (1, 7, 7, 192)}
    assert list(backbone.taps) == [f"b{index}" for index in range(16)]


def test_an_unknown_tap_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownBackbone, match="no tap 'b99'; choose among b0, b1"):
        load_backbone("efficientnet-lite0").tap("b99")


def test_an_unknown_backbone_is_refused_with_the_choices() -> None:
    with pytest.raises(UnknownBackbone, match="no backbone 'resnet'; name efficientnet-lite0, keras:NAME"):
        load_backbone("resnet")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own, while it saves
def test_a_keras_file_takes_the_place_of_the_backbone_with_its_layers_as_taps(tmp_path: Path) -> None:
    path = tmp_path / "line7.keras"
    pixels = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(1 / 255, name="scale")(pixels)
    edges = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="edges")(scaled)
    keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pooled")(edges), name="line7").save(path)

    backbone = load_backbone(str(path))

    assert backbone.tap("edges").shape == (None, 16, 16, 4)
    assert "pooled" not in backbone.taps
    assert backbone.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_keras_file_that_is_missing_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        load_backbone(str(tmp_path / "nowhere.keras"))
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(BadCheckpoint, match="no Keras model"):
        load_backbone(str(tmp_path / "text.keras"))


def test_which_weights_they_are_is_known_without_tensorflow() -> None:
    program = (
        "import sys; from shared.vision.backbone_weights import backbone_weights_sha256;"
        "print(backbone_weights_sha256('efficientnet-lite0')); assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == backbone_weights_sha256("efficientnet-lite0")
    assert done.stderr == ""
