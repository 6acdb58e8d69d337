"""One target under atheris: ``python -m tests.fuzz.guided TARGET [libFuzzer's options]``. See `tests.fuzz.__main__`."""

import sys

import atheris

# Instrumented while it is imported: what is covered decides which inputs are worth changing further.
with atheris.instrument_imports(include=["shared", "services", "tests"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
