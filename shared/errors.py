"""The root of Chipsieve's exceptions.

    ChipsieveError
    ├── Uninspectable          this chip cannot be judged: UNINSPECTED with a reason, and a dead letter
    │   └── …                  each package's own, in its `errors.py`
    ├── NotReady               it cannot be judged now: pause and try again, reject nothing
    └── ConfigurationError     settings, files or arguments are wrong: stop and say so

A message names what was wrong, the value, and the remedy.
"""

from typing import ClassVar

from shared.events import UninspectedReason


class ChipsieveError(Exception):
    """Anything Chipsieve raises on purpose."""


class Uninspectable(ChipsieveError):
    """A chip that cannot be judged, now or on any retry."""

    reason: ClassVar[UninspectedReason] = UninspectedReason.OTHER


class NotReady(ChipsieveError):
    """A stage cannot judge something at the moment (no bank, no registry); its partitions pause until it can."""


class ConfigurationError(ChipsieveError):
    """Settings, files or arguments are wrong."""
