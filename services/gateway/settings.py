"""Settings of the gateway."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, model_validator

from services.gateway.capture import MAX_DEADLINE_MS, check_id
from services.gateway.errors import InvalidIdentity
from shared.settings import AdminSettings, Folder, Settings
from shared.vision.picture import DEFAULT_MAX_PIXELS


class DoorSettings(BaseModel):
    """How pictures come in."""

    host: str = Field(default="127.0.0.1", description="address to take pictures at; 0.0.0.0 for cameras elsewhere")
    port: int = Field(default=8080, ge=0, le=65535, description="of POST /v1/images; 0 takes a free one and logs it")
    # Of both, one line alone has half at most (`services.gateway.room`). Bodies are held until their answer, two or
    # three times for a moment while they are written: three quarters of a gigabyte at the very worst.
    max_in_flight: int = Field(
        default=64, ge=1, description="whole pictures that are decoded and stored at once; more are told to come again"
    )
    bodies_mib: int = Field(
        default=256,
        ge=32,  # a line alone can then send two of the largest pictures at once
        description="memory for pictures under way, MiB, those that are still coming included",
    )
    # Each holds a decoded picture, up to 3 bytes for each of max_pixels.
    judge_threads: int = Field(default=2, ge=1, description="pictures that are decoded at once")
    body_timeout_ms: int = Field(default=30_000, ge=1, description="how long a request's body may take to arrive")
    delivery_timeout_ms: int = Field(
        default=5_000, ge=1000, description="how long Kafka may take to acknowledge a picture before the answer is 503"
    )
    remembered_events: int = Field(
        default=10_000, ge=1, description="latest event ids for which a request that comes again is not stored again"
    )
    # The extractor has the same limit (CHIPSIEVE_IMAGES__MAX_PIXELS) by default, so that what is taken can be judged.
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, ge=1, description="largest picture accepted, pixels")

    tokens_file: Path | None = Field(
        default=None, description="who may send: hashes of tokens with their lines; without it everybody may"
    )
    rate_limit: float | None = Field(default=None, gt=0, description="pictures a second that a line may send")
    # A second's worth of a quick line: what a camera kept back while the network was away.
    rate_burst: int = Field(default=20, ge=1, description="pictures that a line may send at once")
    ssl_certificate: Path | None = Field(default=None, description="PEM; with it the gateway speaks HTTPS alone")
    ssl_key: Path | None = Field(default=None, description="PEM, the certificate's key")

    watch_dir: Folder | None = Field(default=None, description="folder whose pictures are taken in as they appear")
    watch_line: str | None = Field(default=None, description="line that the watched folder's pictures come from")
    watch_product: str | None = Field(default=None, description="product that the watched folder's pictures show")
    watch_deadline_ms: int | None = Field(
        default=None, ge=1, le=MAX_DEADLINE_MS, description="verdict due this long after the picture"
    )
    watch_interval_ms: int = Field(default=200, ge=1, description="pause between two looks into the folder")

    @model_validator(mode="after")
    def _has_certificate_and_key_or_neither(self) -> Self:
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            raise ValueError(
                "a certificate and its key belong together: set CHIPSIEVE_GATEWAY__SSL_CERTIFICATE and "
                "CHIPSIEVE_GATEWAY__SSL_KEY"
            )
        return self

    @model_validator(mode="after")
    def _names_what_is_watched(self) -> Self:
        if self.watch_dir is not None and not (self.watch_line and self.watch_product):
            raise ValueError(
                f"the folder {self.watch_dir} is watched, but not for which line and product: set "
                "CHIPSIEVE_GATEWAY__WATCH_LINE and CHIPSIEVE_GATEWAY__WATCH_PRODUCT"
            )
        # Else each of its pictures would be refused, and moved away.
        for name, value in (("WATCH_LINE", self.watch_line), ("WATCH_PRODUCT", self.watch_product)):
            try:
                if value is not None:
                    check_id(f"CHIPSIEVE_GATEWAY__{name}", value)
            except InvalidIdentity as error:
                raise ValueError(str(error)) from error
        return self


class GatewaySettings(Settings):
    """Everything the gateway reads from its environment."""

    admin: AdminSettings = AdminSettings()
    gateway: DoorSettings = DoorSettings()
