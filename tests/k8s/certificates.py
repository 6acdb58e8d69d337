"""Keys and certificates of the control plane's parts, made by openssl for a few hours."""

import subprocess
from pathlib import Path


def key(path: Path) -> Path:
    """A private key that service account tokens are signed with."""
    _openssl("genrsa", "-out", str(path), "2048")
    return path


def authority(folder: Path) -> None:
    """``ca.crt`` and ``ca.key``."""
    folder.mkdir(parents=True)
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=chipsieve-test-ca"),
        *("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt")),
    )


def certificate(folder: Path, name: str, *, common_name: str, hosts: tuple[str, ...] = ()) -> None:
    """``NAME.crt`` and ``NAME.key`` by the folder's authority, for server and client."""
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    names = ",".join(["DNS:" + common_name, "IP:127.0.0.1", *(f"DNS:{host}" for host in hosts)])
    extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    _openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={common_name}"),
        *("-keyout", str(folder / f"{name}.key"), "-out", str(request)),
    )
    _openssl(
        *("x509", "-req", "-days", "1", "-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")),
        *("-CAcreateserial", "-extfile", str(extensions), "-in", str(request), "-out", str(folder / f"{name}.crt")),
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
