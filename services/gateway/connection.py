"""Connections whose sender has said all it has to say, and told so, before it was answered.

Many a small client sends its request, closes its half of the connection and reads until the other half ends. The server
would close the connection at that: the picture is stored, and its sender never hears of it.
"""

from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol


class HalfOpenProtocol(H11Protocol):
    """The server's own, but that it answers a whole request whose sender has closed its half."""

    _is_half_closed = False

    @override
    def eof_received(self) -> bool:  # type: ignore[override]  # true keeps our half open, which the server never does
        # Not with TLS, whose connections have no halves to asyncio: it warns, and closes.
        is_plain = self.transport.get_extra_info("sslcontext") is None
        self._is_half_closed = is_plain and self._owes_an_answer() and not self.cycle.more_body
        return self._is_half_closed

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_half_closed and not self._owes_an_answer():  # to a request that came behind it
            self.transport.close()

    def _owes_an_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete
