"""What can go wrong between an event and its bytes.

WireError                    (ChipsieveError)
├── MalformedRecord          (Uninspectable) bytes that are no event of the expected type
├── UnwritableEvent          an event with values that its schema cannot carry
├── IncompatibleSchema       (ConfigurationError) the registry refused a new version of a schema
├── RegistryUnavailable      (NotReady) the registry cannot be reached, refuses us, or does not answer as one
└── SchemaNotRegistered      (NotReady) this version of the schemas has not been registered yet
"""

from typing import ClassVar

from shared.errors import ChipsieveError, ConfigurationError, NotReady, Uninspectable
from shared.events import UninspectedReason


class WireError(ChipsieveError):
    """Anything that goes wrong between an event and its bytes."""


class MalformedRecord(WireError, Uninspectable):
    """Bytes that are no event of the expected type, now or on any retry."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.MALFORMED_RECORD


class UnwritableEvent(WireError):
    """An event with values that its schema cannot carry: a programming error, or text that is not Unicode."""


class IncompatibleSchema(WireError, ConfigurationError):
    """The registry refused a new version of a schema because consumers of another version could not read it."""


class RegistryUnavailable(WireError, NotReady):
    """The registry cannot be reached, refuses the user, or answers as if it were no registry."""


class SchemaNotRegistered(WireError, NotReady):
    """This version of a schema is not in the registry; `chipsieve topics create` registers it."""
