"""What can go wrong with memory banks.

BankError (ChipsieveError)
├── BankUnavailable (NotReady)              Redis cannot be reached or cannot answer: wait, reject nothing
│   └── RedisUnreachable                    … it does not answer at all, which took seconds to find out
├── UnknownProduct (Uninspectable)          Redis answered: no bank of this product is active
├── UnknownFeatureSpace (Uninspectable)     the product has banks, but none in the space of these features
├── UnknownVersion (ConfigurationError)     the product has no such version, or none to roll back to
├── VersionInUse (ConfigurationError)       the version judges, and cannot be removed
├── CorruptBundle                           a bundle that is damaged or contradicts itself: never used
├── NotABundle (ConfigurationError)         a path that holds something else: never overwritten
├── UnreadableBundle (ConfigurationError)   files of a bundle that the system does not give
└── UnwritableBundle (ConfigurationError)   a path that nothing can be written to
"""

from shared.errors import ChipsieveError, ConfigurationError, NotReady, Uninspectable
from shared.events import UninspectedReason


class BankError(ChipsieveError):
    """Anything about memory banks."""


class BankUnavailable(BankError, NotReady):
    """Redis cannot be reached, refuses, or holds nothing usable at the moment; nothing is known about the product."""


class RedisUnreachable(BankUnavailable):
    """Redis does not answer: no connection, or no reply in time."""


class UnknownProduct(BankError, Uninspectable):
    """Redis answered and has no active bank of the product."""

    reason = UninspectedReason.UNKNOWN_PRODUCT


class UnknownFeatureSpace(BankError, Uninspectable):
    """No published bank of the product lives in the feature space of the chip's features."""

    reason = UninspectedReason.UNKNOWN_FEATURE_SPACE


class UnknownVersion(BankError, ConfigurationError):
    """The product has no such version, or no earlier one to go back to."""


class VersionInUse(BankError, ConfigurationError):
    """A version that is to be removed judges now."""


class CorruptBundle(BankError):
    """A bundle that is damaged, incomplete or contradicts itself."""


class NotABundle(BankError, ConfigurationError):
    """A path that was taken for a bundle's and holds something else, or nothing."""


class UnreadableBundle(BankError, ConfigurationError):
    """A bundle whose files cannot be read: no permission, a share that does not answer."""


class UnwritableBundle(BankError, ConfigurationError):
    """A bundle cannot be written where it should be."""
