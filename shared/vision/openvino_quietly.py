"""OpenVINO, imported without its telemetry; import it from here.

On import it reports to its vendor over the internet, unasked. A line in a factory tells nobody that it runs.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # importing it now fails, as OpenVINO allows

import openvino as ov  # noqa: E402 - after its telemetry is out of reach

__all__ = ["ov"]
