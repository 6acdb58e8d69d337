"""The networks of the deep rows, each made to say one logit of a picture: above 0 it is defective."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluation.ablation.deep_job import DeepJob
from services.trainer.evaluation.ablation.features import RECIPE, TRUNK
from shared.vision.backbone import load_backbone
from shared.vision.keras_applications import APPLICATIONS, cached_weights
from shared.vision.keras_networks import build_application
from shared.vision.tensorflow_quietly import keras

DROPOUT = 0.2  # before the logit, as EfficientNet has it
MOMENTUM = (
    0.9  # of batch normalisation trained from scratch: Keras's 0.99 and more would take steps that no one has time for
)
SCRATCH_RATE, FINE_RATE = 1e-3, 3e-4  # Adam's learning rate at its highest
VGG_RATE = 1e-4  # without batch normalisation it dies of more
SMALL_CNN_FILTERS = (32, 64, 128, 128)

Batch = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Network:
    """A network, what it is trained on, and how."""

    model: keras.Model
    """What is trained: inputs (N, ...) to logits (N, 1)."""
    whole: keras.Model
    """From uint8 RGB pictures (N, size, size, 3) to the same logits."""
    size: int
    """Of the pictures that `whole` takes, pixels."""
    inputs: Callable[[NDArray[np.intp]], Batch]
    """The model's inputs of pictures by index."""
    rate: float
    pretrained: bool
    how: str


def build_network(job: DeepJob) -> Network:
    """The row's network."""
    if job.row == "efficientnet-lite0":
        return _lite0(job)
    if job.row == "small-cnn":
        body, pretrained = _small_cnn(job.size), False
    else:
        application = next(each for name, each in APPLICATIONS.items() if name.lower() == job.row)
        weights = cached_weights(application)
        body, pretrained = build_application(application, weights, size=job.size), weights is not None
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            if pretrained:
                layer.trainable = False  # its means are better than what a few batches say
            else:
                layer.momentum = MOMENTUM
    whole = keras.Model(body.inputs[0], _logit(keras.layers.GlobalAveragePooling2D()(body.outputs[0])))
    pixels = np.load(job.features / "pixels.npy", mmap_mode="r")
    return Network(
        model=whole,
        whole=whole,
        size=job.size,
        inputs=lambda chosen: np.stack([_resized(pixels[index], job.size) for index in chosen]),
        rate=FINE_RATE if pretrained else VGG_RATE if job.row == "vgg16" else SCRATCH_RATE,
        pretrained=pretrained,
        how=f"{'fine-tuned from ImageNet' if pretrained else 'from scratch'} at {job.size} px",
    )


def _lite0(job: DeepJob) -> Network:
    """Fine-tuned from block 11 on: what comes before stays, so that it is computed once for all."""
    backbone = load_backbone(RECIPE.backbone)
    trunk = backbone.tap(TRUNK.tap)
    logit = _logit(backbone.model.get_layer("pool").output)
    values = np.load(job.features / f"values-{TRUNK.tap}.npy", mmap_mode="r")
    scales = np.load(job.features / f"scales-{TRUNK.tap}.npy", mmap_mode="r")
    return Network(
        model=keras.Model(trunk, logit),
        whole=keras.Model(backbone.model.inputs[0], logit),
        size=TRUNK.input_size,
        inputs=lambda chosen: values[chosen].astype(np.float32) * scales[chosen][..., None],
        rate=FINE_RATE,
        pretrained=True,
        how=f"fine-tuned from ImageNet at {TRUNK.input_size} px, last five blocks",
    )


def _small_cnn(size: int) -> keras.Model:
    """Four strided convolutions, as the paper's baseline of its kind."""
    pixels = keras.Input((size, size, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    for filters in SMALL_CNN_FILTERS:
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D()(x)
    return keras.Model(pixels, x)


def _logit(pooled: Any) -> Any:
    return keras.layers.Dense(1, dtype="float32", name="logit")(keras.layers.Dropout(DROPOUT)(pooled))


def _resized(picture: Batch, size: int) -> Batch:
    return picture if len(picture) == size else cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
