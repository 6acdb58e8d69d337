"""What can go wrong between a picture's bytes and its score.

ChipsieveError
├── VisionError
│   ├── PictureError (Uninspectable)         this picture cannot be looked at; no retry will help
│   │   ├── UndecodableImage                 no picture, or a damaged one
│   │   ├── ImageTooLarge                    more pixels than the limit; refused before decoding
│   │   └── UnsupportedImage                 a sound picture of a kind that is not inspected
│   ├── UnusableFeatures (Uninspectable)     features that do not fit their recipe or bank, or are no numbers
│   ├── UnusableMask                         runs that are no mask of the size that they come with
│   └── VisionConfigurationError (ConfigurationError)
│       ├── UnknownBackbone                  no such network, tap or engine
│       ├── BadRecipe (ValueError)           a recipe with a value that means nothing
│       ├── BadCheckpoint                    a weights file that is missing, damaged, or holds more than weights
│       ├── UnsupportedPrecision             a precision that the engine cannot compute in
│       └── ConversionFailed                 the backbone could not be made ready for OpenVINO
"""

from typing import ClassVar

from shared.errors import ChipsieveError, ConfigurationError, Uninspectable
from shared.events import UninspectedReason


class VisionError(ChipsieveError):
    """Anything `shared.vision` raises on purpose."""


class PictureError(VisionError, Uninspectable):
    """A picture that cannot be looked at."""


class UndecodableImage(PictureError):
    """The bytes are no picture, or a damaged one."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.UNDECODABLE_IMAGE


class ImageTooLarge(PictureError):
    """The picture has more pixels than the limit."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.IMAGE_TOO_LARGE


class UnsupportedImage(PictureError):
    """A sound picture of a kind that is not inspected: depth, colour model, transparency, animation, size."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.UNSUPPORTED_IMAGE


class UnusableFeatures(VisionError, Uninspectable):
    """Features that do not fit the recipe or the bank they came with, or that are no finite numbers."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.MALFORMED_RECORD


class UnusableMask(VisionError):
    """Runs that are no mask of the size that they come with."""


class VisionConfigurationError(VisionError, ConfigurationError):
    """A recipe or an installation that cannot work."""


class UnknownBackbone(VisionConfigurationError):
    """No network, tap or engine of that name."""


class BadRecipe(VisionConfigurationError, ValueError):
    """A recipe with a value that means nothing. A ValueError as well, which readers of manifests tell by its field."""


class BadCheckpoint(VisionConfigurationError):
    """A weights file that is missing, damaged, or holds more than weights."""


class UnsupportedPrecision(VisionConfigurationError):
    """A precision that the engine cannot compute in."""


class ConversionFailed(VisionConfigurationError):
    """The backbone could not be made ready for OpenVINO."""
