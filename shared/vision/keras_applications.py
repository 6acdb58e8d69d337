"""The networks of ``keras.applications`` as backbones, as far as they are known without TensorFlow.

``keras:MobileNetV2`` takes ImageNet weights from Keras's own cache (``$KERAS_HOME/models``, else ``~/.keras/models``),
where Keras puts them on a machine with a network. Chipsieve never downloads: where they are missing it says which file
to bring. ``keras:MobileNetV2:random`` takes random weights, always the same; that is for experiments, since features of
an untrained network tell little of a part.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.vision.errors import BadCheckpoint, UnknownBackbone

PREFIX = "keras:"
RANDOM = ":random"
RANDOM_WEIGHTS = "he-normal-1"
"""Bump when the random weights of a network become others."""

Scaling = Literal["-1..1", "imagenet", "bgr", "own"]
"""What a network was trained on: pixels from -1 to 1; standardised by ImageNet's mean and deviation; blue, green, red
less ImageNet's mean; or pixels from 0 to 255 that it scales itself."""


@dataclass(frozen=True, slots=True)
class Application:
    """One of Keras's networks."""

    name: str
    """As in ``keras.applications``."""
    scaling: Scaling
    weights_file: str
    """Name of its ImageNet weights without the classifier, in Keras's cache."""


_KERNELS = "_weights_tf_dim_ordering_tf_kernels"
APPLICATIONS = {
    application.name: application
    for application in (
        Application("ConvNeXtBase", "own", "convnext_base_notop.h5"),
        Application("ConvNeXtLarge", "own", "convnext_large_notop.h5"),
        Application("ConvNeXtSmall", "own", "convnext_small_notop.h5"),
        Application("ConvNeXtTiny", "own", "convnext_tiny_notop.h5"),
        Application("ConvNeXtXLarge", "own", "convnext_xlarge_notop.h5"),
        *(Application(f"DenseNet{n}", "imagenet", f"densenet{n}{_KERNELS}_notop.h5") for n in (121, 169, 201)),
        *(Application(f"EfficientNetB{n}", "own", f"efficientnetb{n}_notop.h5") for n in range(8)),
        *(Application(f"EfficientNetV2{n}", "own", f"efficientnetv2-{n.lower()}_notop.h5") for n in ("B0", "B1", "B2")),
        *(
            Application(f"EfficientNetV2{n}", "own", f"efficientnetv2-{n.lower()}_notop.h5")
            for n in ("B3", "L", "M", "S")
        ),
        Application("InceptionResNetV2", "-1..1", f"inception_resnet_v2{_KERNELS}_notop.h5"),
        Application("InceptionV3", "-1..1", f"inception_v3{_KERNELS}_notop.h5"),
        Application("MobileNet", "-1..1", "mobilenet_1_0_224_tf_no_top.h5"),
        Application("MobileNetV2", "-1..1", f"mobilenet_v2{_KERNELS}_1.0_224_no_top.h5"),
        Application("MobileNetV3Large", "own", "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5"),
        Application("MobileNetV3Small", "own", "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"),
        Application("NASNetLarge", "-1..1", "nasnet_large_no_top.h5"),
        Application("NASNetMobile", "-1..1", "nasnet_mobile_no_top.h5"),
        *(Application(f"ResNet{n}", "bgr", f"resnet{n}{_KERNELS}_notop.h5") for n in (50, 101, 152)),
        *(Application(f"ResNet{n}V2", "-1..1", f"resnet{n}v2{_KERNELS}_notop.h5") for n in (50, 101, 152)),
        Application("VGG16", "bgr", f"vgg16{_KERNELS}_notop.h5"),
        Application("VGG19", "bgr", f"vgg19{_KERNELS}_notop.h5"),
        Application("Xception", "-1..1", f"xception{_KERNELS}_notop.h5"),
    )
}


def is_application(backbone: str) -> bool:
    """Whether a backbone's name means one of Keras's networks."""
    return backbone.startswith(PREFIX)


def is_random(backbone: str) -> bool:
    """Whether it asks for random weights."""
    return backbone.endswith(RANDOM)


def application_named(backbone: str) -> Application:
    """The network that ``keras:NAME`` or ``keras:NAME:random`` means.

    Raises:
        UnknownBackbone: Keras has none of that name.
    """
    name = backbone.removeprefix(PREFIX).removesuffix(RANDOM)
    if name not in APPLICATIONS:
        raise UnknownBackbone(f"keras.applications has no {name!r}; choose among {', '.join(APPLICATIONS)}")
    return APPLICATIONS[name]


def cached_weights(application: Application) -> Path | None:
    """The network's ImageNet weights in Keras's cache, if they are there."""
    path = _cache() / application.weights_file
    return path if path.is_file() else None


def application_weights_path(backbone: str) -> Path:
    """The weights file of ``keras:NAME``.

    Raises:
        UnknownBackbone: Keras has none of that name.
        BadCheckpoint: the weights are not in Keras's cache.
    """
    application = application_named(backbone)
    path = cached_weights(application)
    if path is None:
        raise BadCheckpoint(
            f"the ImageNet weights of {application.name} are not in Keras's cache: bring {application.weights_file} "
            f"to {_cache()} from a machine with a network (keras.applications.{application.name}(include_top=False) "
            f"fetches it), or ask for {PREFIX}{application.name}{RANDOM} to try the network without them"
        )
    return path


def random_weights_sha256(backbone: str) -> str:
    """What stands for a weights file's digest where weights are random: they follow from the name."""
    return hashlib.sha256(f"{RANDOM_WEIGHTS}:{application_named(backbone).name}".encode()).hexdigest()


def _cache() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
