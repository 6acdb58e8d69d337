"""``python -m services.gateway``: one gateway process."""

import sys

from services.gateway.service import NAME, run
from services.gateway.settings import GatewaySettings
from shared.stream.entry import enter

if __name__ == "__main__":
    sys.exit(enter(NAME, GatewaySettings, run))
