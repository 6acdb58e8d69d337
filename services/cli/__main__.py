"""Run the `chipsieve` command; loading it takes a second or more, in which a Ctrl-C ends it as later on."""

import sys


def main() -> None:
    """Load the command, and run it."""
    try:
        from services.cli.commands import main as run  # noqa: PLC0415 - to be interrupted in here

        run()
    except KeyboardInterrupt:
        print("chipsieve: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
