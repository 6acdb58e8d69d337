"""Why a verdict cannot be made again, beside what Kafka does not have any more (`services.cli.archive`)."""

from shared.errors import ChipsieveError


class Unexplainable(ChipsieveError):
    """A verdict that cannot be made again."""


class NotRepeatable(Unexplainable):
    """An UNINSPECTED whose reason lies in the clock or in the services' state, which are gone."""
