"""Settings of the extractor."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from shared.settings import ServiceSettings


class EngineSettings(BaseModel):
    """What computes the features."""

    kind: Literal["openvino", "tensorflow"] = Field(
        default="openvino", description="openvino is the faster one on CPUs; tensorflow uses a GPU where there is one"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the engine; all cores where not given")


class ImageSettings(BaseModel):
    """Which pictures are accepted."""

    root: Path | None = Field(
        default=None, description="folder below which pictures may be read by reference; none are where not given"
    )
    max_referenced_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    # 50 megapixels: above any line camera's frame that is judged in one piece, and 150 MB once decoded.
    max_pixels: int = Field(default=50_000_000, ge=1)
    decode_threads: int = Field(default=2, ge=1)


class ExtractorSettings(ServiceSettings):
    """Everything the extractor reads from its environment."""

    engine: EngineSettings = EngineSettings()
    images: ImageSettings = ImageSettings()
