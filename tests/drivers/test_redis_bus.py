"""The bus on Redis, where it shares its thread with a lease."""

from __future__ import annotations

from contextlib import closing

import pytest

from celeriac.drivers import opening
from celeriac.exceptions import OperationalError
from proxy import Proxy
from services import RedisServer


def test_who_keeps_a_lease_tells_and_listens_no_longer_than_it_may(redis_server: RedisServer) -> None:
    late = r"no reply within 0\.25 s"
    with Proxy(redis_server.port) as proxy, closing(opening.open_bus(proxy.url)) as bus:
        bus.hurry(0.25)
        with closing(bus.listen(["topic"])) as listening:
            assert bus.say("topic", b"one") == 1
            assert listening.hear(10.0) == [("topic", b"one")]
            proxy.swallow()
            with pytest.raises(OperationalError, match=late):
                bus.say("topic", b"two")
            with pytest.raises(OperationalError, match=late):
                bus.listen(["topic"])
            proxy.pass_on(forget=True)
            bus.say("topic", b"three")
