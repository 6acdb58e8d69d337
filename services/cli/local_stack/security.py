"""What makes a local stack a guarded one: certificates, and a user with a password and rights for everybody.

D/security/ca.crt            the authority to trust
D/security/broker.*          certificate of Kafka, which is also the stack's own way in
D/security/front.*           certificate of Valkey's TLS and of the registry
D/security/users/NAME/       password, and env to source: everything that NAME needs to connect
"""

import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

from services.cli.local_stack import certificates
from services.cli.local_stack.certificates import write_secret
from services.cli.local_stack.errors import ServerFailed
from shared.access import Principal, load_access, redis_rules, registry_rights, registry_user
from shared.topics import load_topics

BROKER, FRONT = "broker", "front"
EVERYDAY_USER = "operator"
"""Whose variables stand in D/env: creates topics, looks on, sends dead letters back."""
OF_A_USER = (
    *("CHIPSIEVE_KAFKA__SECURITY_PROTOCOL", "CHIPSIEVE_KAFKA__SASL_USERNAME", "CHIPSIEVE_KAFKA__SASL_PASSWORD_FILE"),
    *("CHIPSIEVE_REGISTRY__USERNAME", "CHIPSIEVE_REGISTRY__PASSWORD_FILE"),
    *("CHIPSIEVE_REDIS__USERNAME", "CHIPSIEVE_REDIS__PASSWORD_FILE"),
    *(f"CHIPSIEVE_{server}__SSL_CA_LOCATION" for server in ("KAFKA", "REGISTRY", "REDIS")),
)
"""Every variable that some user is given and another is not."""
# Without a user one may ask whether Valkey lives, and nothing else.
ANYBODY = "user default on nopass resetkeys resetchannels -@all +ping"


@dataclass(frozen=True)
class Security:
    """A guarded stack's folder of secrets."""

    folder: Path

    @classmethod
    def kept(cls, directory: Path) -> "Security | None":
        """That of the stack in `directory`, or None where it is an open one."""
        folder = directory / "security"
        return cls(folder) if (folder / "ca.crt").exists() else None

    @classmethod
    def make(cls, directory: Path) -> "Security":
        """Make what is missing, and new certificates for the servers; an authority and passwords once made stay."""
        folder = directory / "security"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / "ca.crt").exists():
            certificates.make_authority(folder)
        security = cls(folder)
        security.renew()
        for name in security.principals():
            home = folder / "users" / name
            home.mkdir(parents=True, exist_ok=True)
            if not (home / "password").exists():
                write_secret(home / "password", secrets.token_hex(24).encode())
        return security

    def renew(self) -> None:
        """New certificates for the servers, by the same authority."""
        for name in (BROKER, FRONT):
            certificates.issue(self.folder, name)

    @property
    def authority(self) -> Path:
        """The certificate to trust."""
        return self.folder / "ca.crt"

    def file(self, name: str, suffix: str) -> Path:
        """A server's certificate (``crt``), key (``key``), or both (``pem``)."""
        return self.folder / f"{name}.{suffix}"

    def principals(self) -> dict[str, Principal]:
        """Everybody, as schemas/access.yaml has it."""
        return load_access(load_topics())

    def password(self, user: str) -> str:
        """A user's password.

        Raises `ServerFailed` where it has none, since schemas/access.yaml names it only since the servers started.
        """
        try:
            return (self.folder / "users" / user / "password").read_text()
        except FileNotFoundError as error:
            raise ServerFailed(
                f"the stack that runs does not know the user {user} of schemas/access.yaml: end it with "
                "`chipsieve local down`, which keeps its data, and start it again"
            ) from error

    def own_client(self) -> dict[str, str]:
        """How the stack itself, as Kafka's superuser, shows who it is on the internal listener."""
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.authority),
            "ssl.certificate.location": str(self.file(BROKER, "crt")),
            "ssl.key.location": str(self.file(BROKER, "key")),
        }

    def env(self, user: str) -> dict[str, str]:
        """The variables, beside the addresses, with which `user` connects."""
        principal = self.principals()[user]
        authority, password = str(self.authority), str(self.folder / "users" / user / "password")
        variables = {"CHIPSIEVE_REGISTRY__SSL_CA_LOCATION": authority, "CHIPSIEVE_REDIS__SSL_CA_LOCATION": authority}
        if principal.uses_kafka:
            variables |= {
                "CHIPSIEVE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
                "CHIPSIEVE_KAFKA__SASL_USERNAME": user,
                "CHIPSIEVE_KAFKA__SASL_PASSWORD_FILE": password,
                "CHIPSIEVE_KAFKA__SSL_CA_LOCATION": authority,
            }
        if principal.uses_registry:
            variables |= {"CHIPSIEVE_REGISTRY__USERNAME": user, "CHIPSIEVE_REGISTRY__PASSWORD_FILE": password}
        if principal.banks:
            variables |= {"CHIPSIEVE_REDIS__USERNAME": user, "CHIPSIEVE_REDIS__PASSWORD_FILE": password}
        return variables

    def write_env(self, addresses: dict[str, str]) -> None:
        """Write every user's ``env``."""
        for user in self.principals():
            write_env(self.folder / "users" / user / "env", addresses | self.env(user))

    def write_valkey_users(self, path: Path) -> None:
        """The file from which Valkey takes its users."""
        lines = [ANYBODY]
        for name, principal in self.principals().items():
            if rules := redis_rules(principal):
                lines.append(f"user {name} on >{self.password(name)} {' '.join(rules)}")
        write_secret(path, "".join(f"{line}\n" for line in lines).encode())

    def write_registry_users(self, path: Path) -> None:
        """The file from which the registry takes its users and their rights."""
        principals = self.principals()
        users = [registry_user(name, self.password(name)) for name, each in principals.items() if each.uses_registry]
        properties = registry_rights(principals, load_topics()) | dict(users)
        write_secret(path, "".join(f"{name}={value}\n" for name, value in properties.items()).encode())


def point_here(variables: dict[str, str]) -> None:
    """Have this process's own environment, and those it starts, see a stack by these variables and by no others."""
    for name in OF_A_USER:
        os.environ.pop(name, None)
    os.environ.update(variables)


def write_env(path: Path, variables: dict[str, str]) -> None:
    """Variables to source. A shell that was another user's, or a guarded stack's, does not stay so in part."""
    others = " ".join(name for name in OF_A_USER if name not in variables)
    told = [*([f"unset {others}"] if others else []), *(f"export {n}={shlex.quote(v)}" for n, v in variables.items())]
    path.write_text("".join(f"{line}\n" for line in told))
