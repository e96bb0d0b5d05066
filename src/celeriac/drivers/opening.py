"""From a URL to its driver: a table of schemes, each module imported when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlencode

import msgspec

from celeriac.drivers.paired import Paired
from celeriac.exceptions import ImproperlyConfigured
from celeriac.ports import Broker, Bus, ResultStore, ScheduleStore


class Options(msgspec.Struct, frozen=True):
    """What every driver may be told beside its URL; `extra` is for the one driver that knows the name."""

    #: Goes before every key, for several applications in one database.
    global_keyprefix: str = ""
    #: Seconds until a connection that does not come up is an error.
    connect_timeout: float = 4.0
    #: Seconds until a publish that does not get through is an error.
    publish_timeout: float = 5.0
    extra: dict[str, Any] = {}
    #: Whose store it is, for the classes of others, which ask their app for everything.
    app: Any = None


class Driver(Protocol):
    """What the module of a driver offers."""

    def open_broker(self, url: str, options: Options, with_results: bool) -> Broker:
        """A broker; with results it settles them in the same step, in the store of the same URL."""

    def open_results(self, url: str, options: Options) -> ResultStore:
        """The results of that store."""

    def open_bus(self, url: str, options: Options) -> Bus:
        """The bus of that store."""

    def open_schedules(self, url: str, options: Options, group: str) -> ScheduleStore:
        """The plans of one group of schedulers, in the store of that broker."""

    def same_store(self, url_a: str, url_b: str) -> bool:
        """Whether both name one store, so that one atomic step can touch both."""


class _Place(NamedTuple):
    module: str
    #: The extra of this distribution that installs what the module imports.
    extra: str | None = None


_SCHEMES = {
    "memory": _Place("celeriac.drivers.memory"),
    "redis": _Place("celeriac.drivers.redis", extra="redis"),
    "redis+socket": _Place("celeriac.drivers.redis", extra="redis"),
    "rediss": _Place("celeriac.drivers.redis", extra="redis"),
    "sqlite": _Place("celeriac.drivers.sqlite"),
}

#: Other names; the first is what Celery's tests are configured with.
_ALIASES = {"cache+memory": "memory"}

#: Knows the stores of others; imported where a name is none of these.
_FOREIGN = "celeriac.compat.backends.foreign"

_DEFAULTS = Options()


def open_broker(
    broker_url: str | Sequence[str], result_url: str | None = None, options: Options = _DEFAULTS
) -> Broker:
    """The broker of a URL, which settles results too if `result_url` says where they go."""
    url = _only(broker_url)
    driver = driver_of(url)
    if not result_url:
        return driver.open_broker(url, options, with_results=False)
    if is_one_store(url, result_url):
        return driver.open_broker(url, options, with_results=True)
    results = open_results(result_url, options)
    try:
        return Paired(driver.open_broker(url, options, with_results=False), results)
    except BaseException:
        results.close()
        raise


def is_one_store(broker_url: str | Sequence[str], result_url: str) -> bool:
    """Whether messages and results lie in one store, which settles both in one step."""
    url = _only(broker_url)
    driver = driver_of(url)
    return driver_of(result_url) is driver and driver.same_store(url, result_url)


def open_results(url: str, options: Options = _DEFAULTS) -> ResultStore:
    """The result store of a URL."""
    return driver_of(url).open_results(url, options)


def open_bus(url: str | Sequence[str], options: Options = _DEFAULTS) -> Bus:
    """The bus of a broker's URL."""
    only = _only(url)
    return driver_of(only).open_bus(only, options)


def open_schedules(
    broker_url: str | Sequence[str], group: str, options: Options = _DEFAULTS
) -> ScheduleStore:
    """The plans of a group of schedulers, in the store of the broker."""
    url = _only(broker_url)
    opens = getattr(driver_of(url), "open_schedules", None)
    if opens is None:
        scheme = url.partition(":")[0]
        raise ImproperlyConfigured(
            f"{scheme}:// keeps no schedules: its driver has no open_schedules; use redis:// or sqlite://"
        )
    store: ScheduleStore = opens(url, options, group)
    return store


def secured(url: str, said: Any, setting: str) -> str:
    """A URL of Redis with TLS if the setting asks for it: True, or a dict of ssl options (ssl_cert_reqs)."""
    scheme, _, rest = url.partition("://")
    if not said or scheme not in ("redis", "rediss"):
        return url
    if said is not True and not isinstance(said, Mapping):
        raise ImproperlyConfigured(f"{setting} is True or a dict of ssl options, not {said!r}")
    options = {} if said is True else {str(name): _ssl_word(value) for name, value in said.items()}
    sign = "&" if "?" in rest else "?"
    return f"rediss://{rest}{sign}{urlencode(options)}" if options else f"rediss://{rest}"


def _ssl_word(value: Any) -> str:
    """ssl.CERT_NONE and its like by their names."""
    return str(getattr(value, "name", value)).lower() if not isinstance(value, str) else value


def known_schemes() -> list[str]:
    """The schemes that have a driver, sorted."""
    return sorted(_SCHEMES)


def driver_of(url: str) -> Driver:
    """The module that serves a URL, imported now if it was not yet."""
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    place = _SCHEMES.get(_ALIASES.get(scheme, scheme))
    if place is None or not colon:
        foreign: Driver | None = importlib.import_module(_FOREIGN).driver_named(url)
        if foreign is not None:
            return foreign
        raise ImproperlyConfigured(
            f"No driver for {_named(scheme, colon and rest.startswith('//'))}; known are "
            + ", ".join(f"{s}://" for s in known_schemes())
            + ", as in redis://localhost:6379/0"
        )
    try:
        return cast(Driver, importlib.import_module(place.module))
    except ModuleNotFoundError as missing:
        if place.extra is None or (missing.name or "").startswith("celeriac"):
            raise
        raise ImproperlyConfigured(
            f"{scheme}:// needs the module {missing.name}: pip install 'celeriac[{place.extra}]'"
        ) from missing


def _named(scheme: str, colon: str | bool) -> str:
    # Only the scheme: the rest of a URL may hold a password.
    return f"{scheme}://" if colon else "a URL without a scheme"


def _only(urls: str | Sequence[str]) -> str:
    parts = urls.split(";") if isinstance(urls, str) else list(urls)
    named = [part.strip() for part in parts if part.strip()]
    if len(named) != 1:
        raise ImproperlyConfigured(
            f"{len(named)} broker URLs are given where one is needed: failover to another is not built yet"
        )
    return named[0]
