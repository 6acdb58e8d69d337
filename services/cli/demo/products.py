"""The two chips the demo makes, in millimetres."""

from dataclasses import dataclass
from typing import Literal

from shared.errors import ConfigurationError

Background = Literal["belt", "tray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A moulded package with gull-wing leads, as seen from above; lengths in millimetres."""

    name: str
    body: tuple[float, float]
    """Width and height of the moulded body."""
    leads: tuple[int, int, int, int]
    """Leads on the top, right, bottom and left side."""
    pitch: float
    """Distance between the centres of neighbouring leads."""
    lead_width: float
    lead_length: float
    """From the body's edge to the tip, as seen from above."""
    pin_1: tuple[float, float, float]
    """Centre of the pin-1 dimple relative to the body's centre, and its radius."""
    ejector: tuple[float, float, float]
    """Centre and radius of the ejector pin's mark."""
    field: float
    """Side of the square the camera sees."""
    marking: tuple[str, ...]
    """Laser-marked lines, top to bottom."""
    other_markings: tuple[tuple[str, ...], ...]
    """Markings that belong on other parts: what a mixed-up reel looks like."""
    text_height: float
    """Height of a capital letter of the first line."""
    background: Background


SOIC_8 = Product(
    name="soic-8",
    body=(4.9, 3.9),
    leads=(4, 0, 4, 0),
    pitch=1.27,
    lead_width=0.44,
    lead_length=1.05,
    pin_1=(-1.98, 1.48, 0.23),
    ejector=(1.45, -1.02, 0.42),
    field=7.6,
    marking=("CS358D", "2647 A1"),
    other_markings=(("LX7021", "2531 Q"), ("TB555N", "2618 K4"), ("MR4148", "2602")),
    text_height=0.78,
    background="belt",
)

QFP_32 = Product(
    name="qfp-32",
    body=(7.0, 7.0),
    leads=(8, 8, 8, 8),
    pitch=0.8,
    lead_width=0.37,
    lead_length=1.05,
    pin_1=(-2.75, 2.75, 0.33),
    ejector=(2.35, -2.35, 0.55),
    field=10.8,
    marking=("SV32F103", "K8T6", "2644 PHL"),
    other_markings=(("GD17K40", "R1A", "2519 MYS"), ("AT90N", "16-AU", "2608 TWN"), ("NX51C08", "VQ32", "2633")),
    text_height=0.86,
    background="tray",
)

PRODUCTS = {product.name: product for product in (SOIC_8, QFP_32)}


def product_named(name: str) -> Product:
    """The product of this name; ConfigurationError names those there are."""
    try:
        return PRODUCTS[name]
    except KeyError:
        raise ConfigurationError(f"no rendered product {name!r}: choose one of {', '.join(PRODUCTS)}") from None
