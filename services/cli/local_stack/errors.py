"""What can go wrong with the local stack.

ChipsieveError
└── LocalStackError
    ├── ArtifactsUnavailable    Maven is missing, or a download failed
    ├── DirectoryUnusable       the stack's directory cannot be written, or what it remembers is damaged
    ├── PortTaken               a port that was asked for is in use
    ├── StackBusy               another `up` or `down` works on the same directory
    └── ServerFailed            a server ended, or was not ready in time
"""

from shared.errors import ChipsieveError


class LocalStackError(ChipsieveError):
    """The local stack cannot do what it was asked."""


class ArtifactsUnavailable(LocalStackError):
    """The programs are neither cached nor to be had."""


class DirectoryUnusable(LocalStackError):
    """The stack's directory cannot be written, or what it remembers is damaged."""


class PortTaken(LocalStackError):
    """A port is in use by somebody else."""


class StackBusy(LocalStackError):
    """Another process holds the stack's directory."""


class ServerFailed(LocalStackError):
    """A server ended, or was not ready in time; the message carries the end of its log."""
