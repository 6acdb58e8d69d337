"""Settings of the extractor."""

from typing import Literal

from pydantic import BaseModel, Field

from shared.settings import Folder, ServiceSettings
from shared.vision.picture import DEFAULT_MAX_PIXELS


class EngineSettings(BaseModel):
    """What computes the features."""

    kind: Literal["openvino", "tensorflow"] = Field(
        default="openvino", description="openvino is the faster one on CPUs; tensorflow uses a GPU where there is one"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the engine; all cores where not given")
    held: int = Field(
        default=8,
        ge=1,
        description="engines at once, of 50 to 150 MB each: products share one but where recipes differ in what they "
        "extract, or are in int8; beyond it the one that was longest not used is made anew, which takes seconds",
    )


class ImageSettings(BaseModel):
    """Which pictures are accepted."""

    root: Folder | None = Field(
        default=None, description="folder below which pictures may be read by reference; none are without it"
    )
    max_referenced_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1, description="largest file that is read by reference"
    )
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1, description="larger pictures are refused by their header")
    decode_threads: int = Field(default=2, ge=1, description="pictures of a batch that are decoded at once")


class ExtractorSettings(ServiceSettings):
    """Everything the extractor reads from its environment."""

    engine: EngineSettings = EngineSettings()
    images: ImageSettings = ImageSettings()
