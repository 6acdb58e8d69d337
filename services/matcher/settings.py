"""Settings of the matcher."""

from pydantic import BaseModel, Field

from shared.settings import ServiceSettings


class MatchingSettings(BaseModel):
    """How features are matched."""

    threads: int = Field(
        default=1, ge=1, description="CPU threads of matrix products; more replicas gain more than more threads"
    )
    max_banks: int = Field(default=64, ge=1, description="memory banks held at once")
    banks_mib: int = Field(
        default=512,
        ge=16,
        description="memory of the banks held at once, MiB; most take 5 to 20, the process 200 beside",
    )


class MatcherSettings(ServiceSettings):
    """Everything the matcher reads from its environment."""

    matching: MatchingSettings = MatchingSettings()
