"""Defects drawn into good pictures, of many families, to try recipes on where nobody has a defective part to show.

No family resembles any product's real defects for sure; together they catch a recipe that is blind to a whole class of
them. Left out on purpose: changes of brightness alone, and erasing what is there, by which recipes are ranked wrongly.
Cutting and pasting follows CutPaste (Li et al., CVPR 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.vision.picture import MIN_SIDE, Picture

VISIBLE = 8.0  # mean change inside a defect, grey levels of 255: a fainter one is drawn again
TRIES = 4
MAX_SIDE = 768  # pixels: larger pictures are reduced first, a little above the largest input size
FAINTEST = 0.3  # share of a defect's full strength: were all of them plain to see, crude recipes would do as well
SMALLEST, LARGEST = 0.035, 0.2  # of a defect, against the picture's shorter side
COLOURFUL = 6.0  # mean distance of the channels, grey levels: below it a picture is grey, and its defects stay so

_Weight = NDArray[np.float32]  # (h, w), 0 where the picture stays, 1 where it is replaced
_SUBPIXEL = 4  # fractional bits of cv2's coordinates


@dataclass(frozen=True, slots=True)
class _Scene:
    """The part of a picture that is to be spoilt."""

    picture: NDArray[np.float32]
    """(h, w, 3)."""
    donor: NDArray[np.float32]
    """The same part of another good picture, (h, w, 3)."""
    side: int
    """Shorter side of the whole picture: what defects are measured by."""
    random: np.random.Generator

    def size(self) -> float:
        """Pixels, log-uniform."""
        return self.side * float(np.exp(self.random.uniform(np.log(SMALLEST), np.log(LARGEST))))

    def place(self, margin: float = 0.0) -> NDArray[np.float64]:
        """A point (x, y) at least `margin` pixels inside."""
        height, width = self.picture.shape[:2]
        margin = min(margin, min(height, width) / 2 - 1)
        return np.array([self.random.uniform(margin, width - margin), self.random.uniform(margin, height - margin)])

    def blob(self, size: float | None = None) -> _Weight:
        """An irregular spot with a soft rim."""
        size = self.size() if size is None else size
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        radius = np.ones_like(angle)
        for harmonic in range(2, 6):
            phase = self.random.uniform(0, 2 * np.pi)
            radius += self.random.normal(0, 0.3 / harmonic) * np.cos(harmonic * angle + phase)
        stretch = self.random.uniform(0.6, 1.6)
        outline = size / 2 * np.column_stack([np.cos(angle) * radius * stretch, np.sin(angle) * radius / stretch])
        weight = np.zeros(self.picture.shape[:2], np.float32)
        points = np.round((self.place(size / 2) + outline) * 2**_SUBPIXEL).astype(np.int32)
        cv2.fillPoly(weight, [points], (1.0,), cv2.LINE_AA, _SUBPIXEL)
        return self.soft(weight)

    def line(self, *, length: float, width: float, wander: float) -> _Weight:
        """A path whose heading wanders by `wander` radians a step."""
        steps = 12
        headings = self.random.uniform(0, 2 * np.pi) + np.cumsum(self.random.normal(0, wander, steps))
        walk = np.cumsum(length / steps * np.column_stack([np.cos(headings), np.sin(headings)]), axis=0)
        points = np.round((self.place() + walk - walk.mean(axis=0)) * 2**_SUBPIXEL).astype(np.int32)
        weight = np.zeros(self.picture.shape[:2], np.float32)
        cv2.polylines(weight, [points], False, (1.0,), max(1, round(width)), cv2.LINE_AA, _SUBPIXEL)
        return self.soft(weight)

    def soft(self, weight: _Weight) -> _Weight:
        sigma = max(0.5, self.side * float(self.random.uniform(0.001, 0.006)))
        return np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)

    def contrasting(self, weight: _Weight) -> NDArray[np.float32]:
        """A colour (3,) of the picture itself, as unlike what the weight covers as one in eight is."""
        covered = np.average(self.picture.reshape(-1, 3), axis=0, weights=weight.ravel() + 1e-6)
        rows = self.random.integers(0, self.picture.shape[0], 8)
        columns = self.random.integers(0, self.picture.shape[1], 8)
        colours = self.picture[rows, columns]
        return np.asarray(colours[np.abs(colours - covered).sum(axis=1).argmax()], np.float32)

    def blend(self, weight: _Weight, other: NDArray[np.float32]) -> NDArray[np.float32]:
        """`other`, an (h, w, 3) picture or a (3,) colour, where the weight is 1."""
        return np.asarray(self.picture + weight[..., None] * (other - self.picture), np.float32)


def _scratch(scene: _Scene) -> NDArray[np.float32]:
    weight = scene.line(length=scene.side * scene.random.uniform(0.15, 0.5), width=scene.side * 0.006, wander=0.05)
    shade = scene.random.choice([-1, 1]) * scene.random.uniform(35, 90)
    return scene.blend(weight, scene.picture + np.float32(shade))


def _crack(scene: _Scene) -> NDArray[np.float32]:
    length = scene.side * scene.random.uniform(0.1, 0.35)
    weight = scene.line(length=length, width=scene.side * scene.random.uniform(0.005, 0.012), wander=0.45)
    return scene.blend(weight, scene.picture * np.float32(scene.random.uniform(0.2, 0.6)))


def _pit(scene: _Scene) -> NDArray[np.float32]:
    weight = scene.blob()
    return scene.blend(weight, scene.picture * np.float32(scene.random.uniform(0.1, 0.6)))


def _bump(scene: _Scene) -> NDArray[np.float32]:
    weight = scene.blob()
    return scene.blend(weight, 255 - (255 - scene.picture) * np.float32(scene.random.uniform(0.2, 0.6)))


def _stain(scene: _Scene) -> NDArray[np.float32]:
    weight = scene.blob(scene.size() * 1.5) * np.float32(scene.random.uniform(0.4, 0.8))
    return scene.blend(weight, scene.contrasting(weight))


def _pin_holes(scene: _Scene) -> NDArray[np.float32]:
    weight = np.zeros(scene.picture.shape[:2], np.float32)
    for _ in range(int(scene.random.integers(1, 5))):
        weight = np.maximum(weight, scene.blob(scene.side * float(scene.random.uniform(0.015, 0.04))))
    return scene.blend(weight, scene.contrasting(weight))


def _bridge(scene: _Scene) -> NDArray[np.float32]:
    """Material where none belongs, or none where some does, in the picture's own colours."""
    size = scene.size()
    weight = scene.line(length=size * 1.5, width=size * scene.random.uniform(0.15, 0.5), wander=0.1)
    return scene.blend(weight, scene.contrasting(weight))


def _fibre(scene: _Scene) -> NDArray[np.float32]:
    weight = scene.line(length=scene.side * 0.4, width=scene.side * 0.008, wander=0.3)
    return scene.blend(weight * np.float32(0.8), scene.contrasting(weight))


def _cut_and_paste(scene: _Scene) -> NDArray[np.float32]:
    return scene.blend(scene.blob(scene.size() * 1.3), _moved(scene, scene.picture))


def _scar(scene: _Scene) -> NDArray[np.float32]:
    weight = scene.line(length=scene.size() * 2, width=scene.side * scene.random.uniform(0.015, 0.04), wander=0.02)
    return scene.blend(weight, _moved(scene, scene.picture))


def _foreign_patch(scene: _Scene) -> NDArray[np.float32]:
    return scene.blend(scene.blob(scene.size() * 1.3), _moved(scene, scene.donor))


def _turned_texture(scene: _Scene) -> NDArray[np.float32]:
    height, width = scene.picture.shape[:2]
    turned = cv2.resize(np.rot90(scene.picture), (width, height), interpolation=cv2.INTER_LINEAR)
    return scene.blend(scene.blob(scene.size() * 1.3), turned)


def _blurred(scene: _Scene) -> NDArray[np.float32]:
    sigma = scene.side * float(scene.random.uniform(0.01, 0.03))
    return scene.blend(scene.blob(scene.size() * 1.5), cv2.GaussianBlur(scene.picture, (0, 0), sigma))


def _noisy(scene: _Scene) -> NDArray[np.float32]:
    noise = scene.random.normal(0, scene.random.uniform(25, 60), (*scene.picture.shape[:2], 1)).astype(np.float32)
    return scene.blend(scene.blob(), scene.picture + cv2.GaussianBlur(noise, (0, 0), 0.7)[..., None] * 1.5)


def _grown(scene: _Scene) -> NDArray[np.float32]:
    """Bright parts grow, or shrink: spurs and mouse bites."""
    side = 2 * max(1, round(scene.side * float(scene.random.uniform(0.008, 0.025)))) + 1
    change = cv2.dilate if scene.random.random() < 0.5 else cv2.erode
    spread = change(scene.picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return scene.blend(scene.blob(), np.asarray(spread, np.float32))


def _shifted(scene: _Scene) -> NDArray[np.float32]:
    """A part out of its place."""
    reach = scene.side * float(scene.random.uniform(0.02, 0.06))
    heading = float(scene.random.uniform(0, 2 * np.pi))
    return scene.blend(
        scene.blob(scene.size() * 1.5), _rolled(scene.picture, reach * np.cos(heading), reach * np.sin(heading))
    )


def _warped(scene: _Scene) -> NDArray[np.float32]:
    """Pushed out of shape, most in the middle and not at the rim."""
    weight = cv2.GaussianBlur(scene.blob(scene.size() * 1.5), (0, 0), scene.side * 0.02)
    reach = scene.side * float(scene.random.uniform(0.03, 0.08))
    heading = float(scene.random.uniform(0, 2 * np.pi))
    rows, columns = np.indices(scene.picture.shape[:2], np.float32)
    return np.asarray(
        cv2.remap(
            scene.picture,
            columns + weight * np.float32(reach * np.cos(heading)),
            rows + weight * np.float32(reach * np.sin(heading)),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )


def _tinted(scene: _Scene) -> NDArray[np.float32]:
    """Another colour; on a grey picture, a shade between light and dark ones of its own."""
    weight = scene.blob(scene.size() * 1.5)
    if np.abs(scene.picture - scene.picture.mean(axis=2, keepdims=True)).mean() < COLOURFUL:
        return scene.blend(weight * np.float32(0.6), scene.contrasting(weight))
    shift = scene.random.normal(0, 1, 3)
    shift -= shift.mean()
    return scene.blend(weight, scene.picture + (shift / np.abs(shift).max() * 60).astype(np.float32))


FAMILIES: dict[str, Callable[[_Scene], NDArray[np.float32]]] = {
    "scratch": _scratch,
    "crack": _crack,
    "pit": _pit,
    "bump": _bump,
    "stain": _stain,
    "pin-holes": _pin_holes,
    "bridge": _bridge,
    "fibre": _fibre,
    "cut and paste": _cut_and_paste,
    "scar": _scar,
    "foreign patch": _foreign_patch,
    "turned texture": _turned_texture,
    "blurred": _blurred,
    "noisy": _noisy,
    "grown": _grown,
    "shifted": _shifted,
    "warped": _warped,
    "tinted": _tinted,
}
"""Every family by name."""
THIN_LINES = ("scratch", "crack")
"""Families that layers of thin lines are there for."""


def spoil(picture: Picture, donor: Picture, family: str, random: np.random.Generator) -> Picture:
    """A copy of a good picture with one defect that shows.

    Args:
        picture: uint8 RGB (h, w, 3).
        donor: another good picture, of any size, to take foreign patches from.
        family: one of `FAMILIES`.
        random: where, how large and how strong; the same state gives the same defect.

    Returns:
        uint8 RGB (h, w, 3). Where a family finds nothing to change (blurring what is even already), the most visible of
        several tries.
    """
    height, width = picture.shape[:2]
    fitting = cv2.resize(donor, (width, height), interpolation=cv2.INTER_AREA)
    best, most = picture, -1.0
    for _ in range(TRIES):
        window = _window(height, width, random)
        part = picture[window].astype(np.float32)
        scene = _Scene(part, fitting[window].astype(np.float32), min(height, width), random)
        strength = np.float32(random.uniform(FAINTEST, 1))
        full = np.clip(FAMILIES[family](scene), 0, 255)
        spoilt = np.rint(part + strength * (full - part)).astype(np.uint8)
        change = cv2.absdiff(spoilt, picture[window]).max(axis=2)
        changed = change[change > 0]
        visible = float(changed.mean()) if changed.size else 0.0
        if visible > most:
            best, most = picture.copy(), visible
            best[window] = spoilt
        if visible >= VISIBLE:
            break
    return best


def reduced(picture: Picture) -> Picture:
    """The picture, where it is larger than any recipe looks at, at the size that defects are drawn at."""
    scale = MAX_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(MIN_SIDE, round(picture.shape[1] * scale)), max(MIN_SIDE, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]  # OpenCV is not typed


def _window(height: int, width: int, random: np.random.Generator) -> tuple[slice, slice]:
    """A part of half the picture's sides: room for any defect, and a quarter of the work."""
    rows, columns = max(MIN_SIDE, (height + 1) // 2), max(MIN_SIDE, (width + 1) // 2)
    top, left = int(random.integers(0, height - rows + 1)), int(random.integers(0, width - columns + 1))
    return slice(top, top + rows), slice(left, left + columns)


def _moved(scene: _Scene, source: NDArray[np.float32]) -> NDArray[np.float32]:
    """The source, rolled by so much that another part of it lies at every place."""
    reach = scene.side * float(scene.random.uniform(0.15, 0.5))
    heading = float(scene.random.uniform(0, 2 * np.pi))
    return _rolled(source, reach * np.cos(heading), reach * np.sin(heading))


def _rolled(source: NDArray[np.float32], across: float, down: float) -> NDArray[np.float32]:
    return np.roll(source, (round(down), round(across)), axis=(0, 1))
