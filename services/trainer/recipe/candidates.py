"""Which layers are worth trying on pictures of a given size, and what they cost."""

from collections.abc import Sequence
from math import sqrt
from statistics import median

from shared.vision.recipe import LINE_TAPS, Layer

SMALLEST, LARGEST = 256, 640  # input sizes, pixels; the largest costs six times the smallest
ENLARGED = 1.25  # features of slightly enlarged pictures tell small defects better; more only costs
STEP = 64  # input sizes are multiples of it: the backbone's grids are whole, and few graphs are ever converted


def input_sizes(sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Two or three input sizes, from 256 to near the pictures' own, for pictures of (height, width) pixels.

    No input size is right for all products: a late layer wants context, and a fine defect is lost in a reduced picture.
    """
    native = median(sqrt(height * width) for height, width in sizes)
    finest = max(SMALLEST, min(LARGEST, _rounded(native * ENLARGED)))
    middle = _rounded(sqrt(SMALLEST * finest))
    return tuple(sorted({SMALLEST, middle, finest} if finest >= 2 * SMALLEST else {SMALLEST, finest}))


def candidates(input_size: int) -> tuple[Layer, ...]:
    """Early to late layers of one input size: fine texture, shapes, and what things are.

    The earlier a layer, the finer its grid, and the smaller the share of its patches that a small defect covers: of the
    early ones as many patches count at every input size, about ten of b4's and three of b7's.
    """
    few = round(0.01 * (SMALLEST / input_size) ** 2, 5)
    return (
        Layer(tap="b4", input_size=input_size, top_fraction=few),
        Layer(tap="b7", input_size=input_size, top_fraction=few),
        Layer(tap="b10", input_size=input_size),
        Layer(tap="b12", input_size=input_size),
        Layer(tap="b14", input_size=input_size),
    )


def learnt_candidate(input_size: int) -> Layer:
    """A network's sense of drawn defects, on features that are neither fine texture nor what things are.

    On tiles split by part, b7 and b12 teach less.
    """
    return Layer(tap="b10", input_size=input_size, metric="learnt", top_fraction=0.01)


def line_candidates(input_size: int) -> tuple[Layer, ...]:
    """Thin lines, dark and bright ones: cracks and scratches, which no layer of the backbone keeps."""
    return tuple(Layer(tap=tap, input_size=input_size, pool=1, metric="place", top_fraction=0.01) for tap in LINE_TAPS)


def _rounded(side: float) -> int:
    return STEP * round(side / STEP)
