"""The connection to Redis (or Valkey): how long to wait, how often to try, and what an error means."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.bank.errors import BankUnavailable, RedisUnreachable
from shared.errors import ConfigurationError
from shared.settings import RedisSettings, authority

CONNECT_SECONDS: Final = 1.0  # a plant's Redis is near; a matcher that holds its banks must not wait for a dead one
REPLY_SECONDS: Final = 3.0  # for a round trip of 4 MiB of arrays, which then needs 11 Mbit/s
RETRIES: Final = 1  # carries over a failover's reset connection; an outage is for the caller to wait out
HEALTH_CHECK_SECONDS: Final = 15  # a connection idle for longer is pinged before use: firewalls drop silently


class Connection:
    """A pool of connections to one Redis. Safe to share between threads."""

    def __init__(self, settings: RedisSettings) -> None:
        try:
            self.redis: Any = Redis.from_url(
                settings.url,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=REPLY_SECONDS,
                health_check_interval=HEALTH_CHECK_SECONDS,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES),
                protocol=2,
                **_guarded(settings),
            )
        except ValueError as error:
            # Without the URL, which may hold a password.
            raise ConfigurationError(
                f"CHIPSIEVE_REDIS__URL is not an address like redis://host:6379/0: {error}"
            ) from error
        found = self.redis.connection_pool.connection_kwargs
        self.address: str = found.get("path") or f"{found.get('host', 'localhost')}:{found.get('port', 6379)}"

    @contextmanager
    def answering(self) -> Iterator[Any]:
        """The client; whatever keeps it from Redis, or Redis has against what is done, becomes `BankUnavailable`."""
        try:
            yield self.redis
        except _NoPasswordNow as error:
            raise BankUnavailable(str(error)) from error
        except AuthenticationError as error:  # a ConnectionError too, in this library
            raise BankUnavailable(
                f"Redis at {self.address} knows no such user or password: {error}; check CHIPSIEVE_REDIS__USERNAME and "
                "CHIPSIEVE_REDIS__PASSWORD_FILE"
            ) from error
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise RedisUnreachable(
                f"Redis at {self.address} cannot be reached: {error}; start it, or set CHIPSIEVE_REDIS__URL"
            ) from error
        except NoPermissionError as error:
            raise BankUnavailable(
                f"Redis at {self.address} refused: {error}; connect as one who may (CHIPSIEVE_REDIS__USERNAME; "
                "`trainer` publishes, activates and removes), or give it the right in schemas/access.yaml"
            ) from error
        except RedisError as error:
            raise BankUnavailable(f"Redis at {self.address} refused: {error}") from error

    def transaction(self, queue: Callable[[Any], bool], *watched: str) -> bool:
        """Run `queue`, which reads, calls ``multi()`` and queues writes; again whenever a watched key changed.

        It also runs again where the connection broke before the answer came: it must find out what was done already.
        """
        with self.answering() as redis:
            return bool(redis.transaction(queue, *watched, value_from_callable=True))


class _NoPasswordNow(RedisError):  # type: ignore[misc]  # redis is not typed
    """The password's file cannot be read while a connection is made, as while another is written into it.

    An error of the library's: after any other it would keep the connection, and use it without a user of ours.
    """


class _Credentials(CredentialProvider):  # type: ignore[misc]  # redis is not typed
    """Asked at each connection: a password that changed in its file counts from the next one on."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings

    def get_credentials(self) -> tuple[str, ...]:
        try:
            return self._settings.credentials() or ("",)
        except ConfigurationError as error:
            raise _NoPasswordNow(str(error)) from error


def _guarded(settings: RedisSettings) -> dict[str, Any]:
    """What TLS and a user of its own add to a connection. The certificate's authority is read at each connection."""
    options: dict[str, Any] = {}
    if settings.credentials() is not None:
        options["credential_provider"] = _Credentials(settings)
    if settings.ssl_ca_location and settings.url.startswith("rediss://"):
        options["ssl_ca_certs"] = authority(settings.ssl_ca_location, "CHIPSIEVE_REDIS__SSL_CA_LOCATION")
    return options
