"""The choice of a precision on the command line."""

from enum import StrEnum
from typing import cast

from shared.vision.recipe import Precision


class PrecisionChoice(StrEnum):
    """What features are computed in."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"

    @property
    def asked(self) -> Precision | None:
        """None where the choice is left to the machine."""
        return None if self is PrecisionChoice.AUTO else cast("Precision", self.value)
