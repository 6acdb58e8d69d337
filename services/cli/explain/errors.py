"""Why a verdict cannot be made again.

ChipsieveError
└── Unexplainable          something that the verdict rests on is not there any more, or was never there
    ├── NoVerdict          no verdict on that event
    ├── PictureGone        the record of the picture has expired, or holds another picture
    └── NotRepeatable      a chip that was not inspected, for a reason that no picture tells
"""

from shared.errors import ChipsieveError


class Unexplainable(ChipsieveError):
    """A verdict that cannot be made again."""


class NoVerdict(Unexplainable):
    """No verdict on that event, or none on that chip."""


class PictureGone(Unexplainable):
    """The picture that was judged cannot be had any more."""


class NotRepeatable(Unexplainable):
    """An UNINSPECTED whose reason lies in the clock or in the services' state, which are gone."""
