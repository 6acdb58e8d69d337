"""`chipsieve local`: real Kafka, Valkey and schema registry on this machine."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from services.cli.local_stack import artifacts, stack
from services.cli.local_stack.security import EVERYDAY_USER
from services.cli.options import Json

app = typer.Typer(no_args_is_help=True, help="Real Kafka, Valkey and schema registry as processes on this machine.")

Directory = Annotated[Path, typer.Option("--dir", help="Where all state, data and logs are kept.")]
Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Where it listens on this machine.", show_default="the one it had, or a free one"
    ),
]


@app.command()
def up(
    directory: Directory,
    *,
    kafka_port: Port = None,
    redis_port: Port = None,
    registry_port: Port = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="With TLS, and a user with a password and rights for each service.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start what does not run yet, wait until it answers, and write DIR/env to source."""
    _announce_download()
    _tell_left_behind(directory)
    wanted = {"kafka": kafka_port, "redis": redis_port, "registry": registry_port}
    addresses = stack.up(directory, wanted_ports=wanted, secure=secure)
    found = {name: getattr(addresses, name) for name in stack.NAMES}
    users = sorted(addresses.security.principals()) if addresses.security else []
    if as_json:
        typer.echo(json.dumps(found | {"env": str(directory / "env"), "users": users}))
        return
    for name, address in found.items():
        typer.echo(f"{name:9} {address}")
    typer.echo(f"to use it: source {shlex.quote(str(directory / 'env'))}")
    if addresses.security:
        users_folder = shlex.quote(str(addresses.security.folder / "users"))
        typer.echo(f"as user {EVERYDAY_USER}; as another: source {users_folder}/NAME/env")
        typer.echo(f"users     {' '.join(users)}")


@app.command()
def down(
    directory: Directory,
    purge: Annotated[bool, typer.Option("--purge", help="Remove data and logs too.")] = False,
    as_json: Json = False,
) -> None:
    """Stop what `up` started, and nothing else; data stay unless purged."""
    _tell_left_behind(directory)
    stopped = stack.down(directory, purge=purge)
    if as_json:
        typer.echo(json.dumps({"stopped": stopped, "purged": purge}))
    else:
        typer.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command()
def renew(directory: Directory) -> None:
    """Give the servers of a guarded stack new certificates while they run; theirs are good for 90 days."""
    stack.renew(directory)
    typer.echo("renewed: Kafka and Valkey have them, the registry will within half a minute")


@app.command()
def status(directory: Directory, as_json: Json = False) -> None:
    """Show which servers run and answer; exit status 1 unless all do."""
    servers = stack.status(directory)
    if as_json:
        typer.echo(json.dumps({"servers": [asdict(server) for server in servers]}))
    else:
        for server in servers:
            state = "ready" if server.ready else "running, does not answer" if server.running else "stopped"
            typer.echo(f"{server.name:9} {state:24} {server.address or ''}")
    if not all(server.ready for server in servers):
        raise typer.Exit(1)


@app.command()
def fetch(as_json: Json = False) -> None:
    """Fetch the programs into the cache; afterwards the stack needs no network."""
    _announce_download()
    folder = str(artifacts.fetch().kafka.parent)
    typer.echo(json.dumps({"cache": folder}) if as_json else folder)


def _announce_download() -> None:
    if not artifacts.is_cached():
        typer.echo("fetching Kafka and the registry by Maven, about 200 MB, once …", err=True)


def _tell_left_behind(directory: Path) -> None:
    if pids := stack.left_behind(directory):
        typer.echo(
            f"chipsieve: servers of {directory} run on though it was deleted meanwhile: end them with "
            f"`kill {' '.join(map(str, pids))}`",
            err=True,
        )
