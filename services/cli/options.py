"""Options that several commands have, in one wording."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
NormalPictures = Annotated[Path, typer.Option("--normal", help="Folder of good pictures, walked recursively.")]
BundleFolder = Annotated[Path, typer.Option("--bundle", help="Folder that `chipsieve train --out` wrote.")]
SentPictures = Annotated[Path, typer.Option("--images", help="Folder of pictures to send, walked recursively.")]
JudgingBundle = Annotated[
    Path | None,
    typer.Option("--bundle", help="Bundle to judge with; without one, a bank is built from the pictures themselves."),
]
Deadline = Annotated[
    int, typer.Option("--deadline", min=100, help="Milliseconds from capture to when a verdict is due.")
]
