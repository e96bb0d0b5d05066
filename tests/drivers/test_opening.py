"""From a URL to a driver, and the errors on the way."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import pytest

from celeriac.drivers.memory.broker import MemoryBroker
from celeriac.drivers.memory.results import MemoryResults
from celeriac.drivers.opening import Options, driver_of, known_schemes, open_broker, open_results
from celeriac.drivers.paired import Paired
from celeriac.exceptions import ImproperlyConfigured
from celeriac.message import Message, Outcome, Result


def test_the_schemes_of_this_distribution_are_known() -> None:
    assert known_schemes() == ["memory", "redis", "redis+socket", "rediss", "sqlite"]


def test_a_broker_without_a_result_url_stores_no_results() -> None:
    url = f"memory://{uuid4().hex}"
    settle_one(open_broker(url))
    assert open_results(url).load(["a"]) == [None]


def test_a_broker_and_results_of_one_store_settle_in_one_step() -> None:
    url = f"memory://{uuid4().hex}"
    broker = open_broker(url, url)
    assert isinstance(broker, MemoryBroker)
    settle_one(broker)
    results = open_results(url)
    assert isinstance(results, MemoryResults)
    assert results.load(["a"]) == [b"done"]


def test_a_broker_and_results_of_two_stores_are_paired() -> None:
    url, result_url = f"memory://{uuid4().hex}", f"memory://{uuid4().hex}"
    broker = open_broker(url, result_url)
    assert isinstance(broker, Paired)
    settle_one(broker)
    assert open_results(result_url).load(["a"]) == [b"done"]
    assert open_results(url).load(["a"]) == [None]


def test_a_scheme_may_be_written_in_capitals() -> None:
    assert driver_of("MEMORY://x") is driver_of("memory://y")


@pytest.mark.parametrize("opens", [open_broker, open_results])
def test_an_unknown_scheme_lists_the_known_ones_and_hides_the_password(opens) -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        opens("amqp://guest:secret@localhost//")
    assert str(error.value) == (
        "No driver for amqp://; known are memory://, redis://, redis+socket://, rediss://, sqlite://, "
        "as in redis://localhost:6379/0"
    )


def test_a_url_without_a_scheme_lists_the_known_ones() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"a URL without a scheme; known are memory://"):
        open_broker("localhost")


def test_an_unknown_result_url_is_told_before_anything_is_opened() -> None:
    with pytest.raises(ImproperlyConfigured, match="No driver for rpc://"):
        open_broker("memory://", "rpc://")


@pytest.mark.parametrize("several", ["memory://a;memory://b", ["memory://a", "memory://b"]])
def test_several_broker_urls_are_refused_clearly(several: str | list[str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="2 broker URLs are given where one is needed"):
        open_broker(several)


@pytest.mark.parametrize("single", [["memory://one"], "memory://one;", (" memory://one ",)])
def test_a_list_of_one_url_is_that_url(single) -> None:
    broker = open_broker(single)
    broker.publish([Message(uuid4().hex, "celery", b"x")])
    assert broker.purge("celery") == 1


def test_no_broker_url_at_all_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="0 broker URLs"):
        open_broker([])


def test_options_have_limits_that_end_every_wait() -> None:
    assert Options() == Options(global_keyprefix="", connect_timeout=4.0, publish_timeout=5.0, extra={})


def test_a_driver_is_imported_when_it_is_first_opened() -> None:
    program = (
        "import sys; from celeriac.drivers import opening\n"
        "assert not {'celeriac.drivers.memory', 'celeriac.drivers.redis', 'hiredis'} & set(sys.modules)\n"
        "opening.open_broker('memory://').close()\n"
        "assert 'celeriac.drivers.memory' in sys.modules and 'celeriac.drivers.redis' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_celerys_address_of_results_in_memory_is_known() -> None:
    assert driver_of("cache+memory://") is driver_of("memory://")


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    program = (
        "import sys; sys.modules['hiredis'] = None\n"
        "from celeriac.drivers import opening\n"
        "opening.open_broker('redis://127.0.0.1:1/0')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1].endswith(
        "ImproperlyConfigured: redis:// needs the module hiredis: pip install 'celeriac[redis]'"
    )


def settle_one(broker) -> None:
    broker.consume(["celery"])
    broker.enlist("child", "node", 30.0)
    broker.publish([Message("a", "celery", b"payload")])
    (claim,) = broker.turn("child", (), 1)
    broker.turn("child", [Outcome(claim.number, result=Result("a", b"done"))], 0)
    broker.close()


@pytest.mark.parametrize(
    "url",
    ["redis://:sec/ret@host/0", "redis://:s@ec#ret@host", "redis://:sec?ret@host", "redis://:secret@[::1/0"],
)
def test_a_redis_url_that_cannot_be_read_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"cannot read the Redis URL 'redis://\*\*\*@") as told:
        open_broker(url)
    assert "it looks like redis://user:password@host:6379/0" in str(told.value)
    assert "ret" not in str(told.value)
