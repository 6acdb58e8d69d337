"""Settings of the router."""

from pathlib import Path

from pydantic import BaseModel, Field

from services.router.rules_file import DEFAULT_RULES
from shared.settings import ServiceSettings


class RoutingSettings(BaseModel):
    """What is routed where."""

    rules: Path = Field(default=DEFAULT_RULES, description="YAML file that says when an alert is raised")


class RouterSettings(ServiceSettings):
    """Everything the router reads from its environment."""

    router: RoutingSettings = RoutingSettings()
