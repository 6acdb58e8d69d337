"""``python -m tests.fault.whole_line``: a run under faults; its report as one JSON document on standard output.

Exit status 0 where every promise was kept. SEED, CHIPS and KILLS in the environment say which run; the same seed gives
the same chips and the same faults in the same order, at moments that the machine decides to within milliseconds.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.fault.whole_line.run import run
from tests.fault.whole_line.telling import on_standard_error

CHIPS, KILLS = 20_000, 60


def main() -> int:
    """Run, report; what the processes logged stays where something went wrong."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10_000))
    chips = int(os.environ.get("CHIPS") or CHIPS)
    kills = int(os.environ.get("KILLS") or KILLS)
    directory = Path(tempfile.mkdtemp(prefix=f"chipsieve-faults-{seed}-"))
    tell = on_standard_error()
    tell(f"SEED={seed} CHIPS={chips} KILLS={kills}, in {directory}")
    report = run(seed, chips, kills, directory, tell)
    print(json.dumps(report.to_json()))
    if report.is_exact:
        shutil.rmtree(directory)
    else:
        tell(f"not exact: see the logs in {directory}; SEED={seed} CHIPS={chips} KILLS={kills} repeats it")
    return 0 if report.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
