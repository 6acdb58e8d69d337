"""What a bundle says about itself: one small JSON document, enough for the extractor and for people."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from shared.bank.errors import CorruptBundle
from shared.bank.upkeep import UpkeepFigures
from shared.vision.bank import Bank
from shared.vision.calibration import Calibration
from shared.vision.errors import BadRecipe
from shared.vision.head import HeadFigures
from shared.vision.patch_head import PatchHeadFigures
from shared.vision.recipe import PREPROCESSING, QUANTISATION, Recipe

# Bump when a reader of the old format would misread the new one.
FORMAT = "chipsieve-bank/1"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Product = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)]


class ArrayEntry(BaseModel):
    """One array of a bundle: a file in ``.npy`` format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    dtype: str
    """As numpy writes it, for instance ``|i1``."""
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    size: int = Field(ge=1)
    """Bytes of the file."""
    sha256: Sha256
    """Of the file."""


class Manifest(BaseModel):
    """A bundle's manifest. Immutable; `make` and `from_json` are the ways to one.

    The document it was read from is kept word for word, so that a bundle keeps its content hash under a later Chipsieve
    whose recipes have more fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["chipsieve-bank/1"] = "chipsieve-bank/1"
    product: Product
    version: str = Field(pattern=r"^\d{8}T\d{6}-[0-9a-f]{8}$")
    """When it was made (UTC) and the first 8 hex digits of its content hash; sorts by time."""
    created_at: AwareDatetime
    feature_space: str = Field(pattern=r"^[0-9a-f]{16}$")
    weights_sha256: Sha256
    """Of the backbone's weights."""
    preprocessing: str
    quantisation: str
    recipe: Recipe
    threshold: float
    """A picture that scores above it is rejected."""
    mask_threshold: float
    """A pixel of the map above it is anomalous."""
    calibration: Calibration
    head: HeadFigures | None = None
    """What was learnt from whole pictures of defects, beside its arrays; None where they tell nothing."""
    patch_head: PatchHeadFigures | None = None
    """What was learnt from their patches; likewise."""
    upkeep: UpkeepFigures | None = None
    """What is remembered for adding normals later, beside its arrays."""
    training: dict[str, JsonValue]
    """How it was trained, for people: counts, how the normals were split, what rate is promised."""
    arrays: tuple[ArrayEntry, ...]

    _document: dict[str, Any] = PrivateAttr()

    @classmethod
    def make(
        cls,
        bank: Bank,
        *,
        created_at: datetime,
        weights_sha256: str,
        upkeep: UpkeepFigures | None,
        training: Mapping[str, Any],
        arrays: tuple[ArrayEntry, ...],
    ) -> Self:
        """A new manifest with the version that follows from its content; what `bank.version` says is ignored.

        Raises:
            CorruptBundle: the parts contradict each other, or a number is not finite.
        """
        created_at = created_at.astimezone(UTC)
        document = {
            "format": FORMAT,
            "product": bank.product,
            "created_at": created_at.isoformat(),
            "feature_space": bank.feature_space,
            "weights_sha256": weights_sha256,
            "preprocessing": PREPROCESSING,
            "quantisation": QUANTISATION,
            "recipe": bank.recipe.to_json(),
            "threshold": bank.threshold,
            "mask_threshold": bank.mask_threshold,
            "calibration": bank.calibration.to_json(),
            "head": asdict(bank.head.figures) if bank.head else None,
            "upkeep": upkeep.to_json() if upkeep else None,
            "training": dict(training),
            "arrays": [entry.model_dump(mode="json") for entry in arrays],
        }
        if bank.patch_head:  # a bundle without one stays readable for those who know of none
            document["patch_head"] = asdict(bank.patch_head.figures)
        try:
            document["version"] = f"{created_at:%Y%m%dT%H%M%S}-{content_hash(document)[:8]}"
            return cls.from_json(_canonical(document))
        except (TypeError, ValueError) as error:
            raise CorruptBundle(f"a bundle of {bank.product} cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "the new manifest") -> Self:
        """Read and verify.

        Args:
            text: the document.
            where: what to call it in messages.

        Raises:
            CorruptBundle: not JSON, a field is missing, unknown or not finite, or the parts contradict each other.
        """
        try:
            document = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise CorruptBundle(f"{where} is not a JSON document of finite numbers: {error}") from error
        found = document.get("format") if isinstance(document, dict) else None
        if found != FORMAT:
            raise CorruptBundle(
                f"{where} has format {found!r}, this Chipsieve reads {FORMAT!r}: upgrade, or train again"
            )
        try:
            manifest = cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise CorruptBundle(f"{where}: field {field}: {first['msg']}, found {first['input']!r:.100}") from error
        manifest._document = document
        manifest._check(where)
        return manifest

    def to_json(self) -> str:
        """The document: canonical JSON, byte for byte the same for the same content."""
        return _canonical(self._document)

    @property
    def size(self) -> int:
        """Bytes of all arrays together."""
        return sum(entry.size for entry in self.arrays)

    def _check(self, where: str) -> None:
        try:
            created_at = self.created_at.astimezone(UTC)
        except OverflowError as error:  # on the first or last day that there is, in another zone
            raise CorruptBundle(f"{where} says that it was made at {self.created_at}, which is no time") from error
        expected = f"{created_at:%Y%m%dT%H%M%S}-{content_hash(self._document)[:8]}"
        if self.version != expected:
            raise CorruptBundle(
                f"{where} says version {self.version}, its time and content give {expected}: it was changed"
            )
        try:
            self.recipe.check_whole()
        except BadRecipe as error:
            raise CorruptBundle(f"{where}: {error}") from error
        if len(self.recipe.layers) != len(self.calibration.layers):
            raise CorruptBundle(
                f"{where}: {len(self.recipe.layers)} layers in the recipe and {len(self.calibration.layers)} calibrated"
            )
        # Under other preprocessing than today's the id cannot be computed again; the content hash still guards it.
        if (self.preprocessing, self.quantisation) == (PREPROCESSING, QUANTISATION):
            space = self.recipe.feature_space(self.weights_sha256)
            if space != self.feature_space:
                raise CorruptBundle(
                    f"{where} says feature space {self.feature_space}, its recipe and weights give {space}"
                )


def content_hash(document: Mapping[str, Any]) -> str:
    """Over everything but when and as what it was published: the same content gives the same hash."""
    content = {key: value for key, value in document.items() if key not in {"version", "created_at"}}
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number
