"""What can go wrong in the extractor alone.

ChipsieveError
├── ImageUnavailable (Uninspectable)   the picture is not there, not where it may be, or not the one that was captured
└── RecipeUnsupported (NotReady)       this process cannot compute what a recipe asks for: its chips wait, others do not
"""

from shared.errors import NotReady, Uninspectable
from shared.events import UninspectedReason


class ImageUnavailable(Uninspectable):
    """The event's picture is not there, not where it may be, or not the one that was captured."""

    reason = UninspectedReason.IMAGE_UNAVAILABLE


class RecipeUnsupported(NotReady):
    """This process cannot compute what a recipe asks for."""
