"""TLS in front of a server that listens on a Unix socket, since the Valkey that comes as a package speaks none.

Run as a script: ``terminator.py HOST PORT SOCKET CERTIFICATE KEY``. SIGHUP has it read the certificate again;
connections that are open go on.
"""

import asyncio
import contextlib
import signal
import ssl
import sys

CHUNK = 256 * 1024  # a bank comes in chunks of 4 MiB


async def serve(host: str, port: int, behind: str, certificate: str, key: str) -> None:
    """Accept until SIGTERM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(behind)
        except OSError as error:  # Valkey is starting, or gone: so is this connection
            print(f"{behind}: {error}", file=sys.stderr)
            writer.close()
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, context.load_cert_chain, certificate, key)
    await asyncio.start_server(passed_on, host, port, ssl=context)
    await stopped.wait()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # either side went away
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]))
