"""The driver of `sqlite:///file`, the embedded default: broker and results in one file for all processes."""

from __future__ import annotations

from celeriac.drivers.opening import Options
from celeriac.drivers.sqlite.broker import SqliteBroker
from celeriac.drivers.sqlite.bus import SqliteBus
from celeriac.drivers.sqlite.place import read_url
from celeriac.drivers.sqlite.results import SqliteResults
from celeriac.drivers.sqlite.schedules import SqliteSchedules
from celeriac.drivers.sqlite.session import Session


def open_broker(url: str, options: Options, with_results: bool) -> SqliteBroker:
    """A broker on the file of the URL; `sqlite://` is memory of this process while anybody has it open."""
    return SqliteBroker(_session(url, options), with_results)


def open_results(url: str, options: Options) -> SqliteResults:
    """The results in the file of the URL."""
    return SqliteResults(_session(url, options))


def open_bus(url: str, options: Options) -> SqliteBus:
    """The bus in the file of the URL."""
    return SqliteBus(_session(url, options))


def open_schedules(url: str, options: Options, group: str) -> SqliteSchedules:
    """The plans of a group, in the file of the URL."""
    return SqliteSchedules(open_broker(url, options, with_results=False), group)


def same_store(url_a: str, url_b: str) -> bool:
    """Whether both name one file, so that one transaction can touch both."""
    return read_url(url_a).path == read_url(url_b).path


def _session(url: str, options: Options) -> Session:
    return Session.opened(read_url(url), options.publish_timeout)
