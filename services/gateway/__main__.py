"""``python -m services.gateway``: one gateway process."""

import sys

from services.gateway.service import run
from services.gateway.settings import GatewaySettings

if __name__ == "__main__":
    sys.exit(run(GatewaySettings()))
