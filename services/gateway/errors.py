"""What can keep a picture from being stored.

ChipsieveError
├── GatewayError                 nothing was stored, and the same picture would be refused again
│   ├── Unauthorized             no token, or none that is known
│   ├── ForbiddenLine            a token that is not good for this line
│   ├── InvalidIdentity          line, product, chip, event or a time is missing or cannot be
│   ├── OversizeImage            more bytes than may travel inline
│   ├── ChecksumMismatch         other bytes than the sender meant
│   ├── UnsupportedBody          a body that is wrapped: multipart, compressed
│   ├── SlowBody                 a body that did not arrive in time
│   ├── SenderGone               a sender that went away before its picture was whole
│   ├── ConflictingEvent         an event id that was used for another picture
│   └── OutsideRoot              a reference that leads out of the image root
└── NotReady
    ├── shared.kafka.BrokerUnavailable     not acknowledged in time
    ├── GatewayBusy                        as much is under way as may be; try again
    ├── GatewayStopping                    told to stop, and the picture took too long; try again
    └── RateLimited                        the line sends more than it may; try again
"""

import re

from shared.errors import ChipsieveError, NotReady, Uninspectable


def reason_of(error: Exception) -> str:
    """Why a picture was not stored, for answers and metrics: the chip's own reason, else the error's name."""
    if isinstance(error, Uninspectable):
        return error.reason.value
    if isinstance(error, ChipsieveError):
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).upper()
    return "INTERNAL_ERROR"


class GatewayError(ChipsieveError):
    """A picture that is refused; nothing was stored."""


class Unauthorized(GatewayError):
    """No token, or none that is known."""


class ForbiddenLine(GatewayError):
    """A token that is not good for this line."""


class InvalidIdentity(GatewayError):
    """Line, product, chip, event or a time is missing or cannot be."""


class OversizeImage(GatewayError):
    """More bytes than may travel inline."""


class ChecksumMismatch(GatewayError):
    """Other bytes than the sender meant."""


class UnsupportedBody(GatewayError):
    """A body that is no bare picture: multipart, compressed."""


class SlowBody(GatewayError):
    """A body that did not arrive in time."""


class SenderGone(GatewayError):
    """A sender that went away before its picture was whole."""


class ConflictingEvent(GatewayError):
    """An event id that was used for another picture."""


class OutsideRoot(GatewayError):
    """A reference that leads out of the image root."""


class GatewayBusy(NotReady):
    """As much is under way as may be."""


class GatewayStopping(NotReady):
    """Told to stop, and the picture was not whole or not acknowledged in the time that was left."""


class RateLimited(NotReady):
    """The line sends more than it may."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
