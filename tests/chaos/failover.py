"""Redis with a replica that takes over: the address stays, and leads to whoever is the master."""

from __future__ import annotations

import contextlib
import random
import time

from celeriac.drivers.redis.address import parse
from celeriac.drivers.redis.connection import Connection
from chaos.faults import Fault
from chaos.stage import RedisStore, Stage, until
from proxy import Proxy
from services import RedisServer


class ReplicatedStore(RedisStore):
    """A master and its replica. Workers and harness each have an address that follows the master, as a name
    or a balancer does; the two servers are joined by a proxy too, so that the replica can fall behind."""

    #: A new replica is served at once, and not after five seconds in which more might come.
    EAGER = ("--repl-diskless-sync-delay", "0")

    def __init__(self, *options: str) -> None:
        super().__init__(*self.EAGER, *options)
        self._own_way = Proxy(self.server.port)
        self._own_way.start()
        self.url = self._own_way.url
        self._connection.close()
        self._connection = Connection(parse(self.url), connect_timeout=5, timeout=120)
        self.link = Proxy(self.server.port)
        self.link.start()
        self._options = options
        self.replica = self._another()

    def hand_over(self) -> None:
        """In order: writes wait until the replica has everything, then it is the master, and the old one its
        replica. Clients still reach the old one for a moment, which refuses their writes."""
        until(self._has_handed_over, "the replica is the master", pause=0.2)
        self.server, self.replica = self.replica, self.server
        self._lead_to_master()
        self._follow(self.replica)

    def catch_up(self) -> None:
        """The replica has heard of all that was written until now: it hears in order."""
        mark = f"mark:{time.time_ns()}"
        self.server.command(f"SET {mark} heard EX 60")
        until(lambda: self.replica.command(f"EXISTS {mark}") == ":1", "the replica has caught up")

    def lose_the_master(self) -> None:
        """It dies as with its machine, and what the replica had not received is gone."""
        self.server.kill()
        self.link.reset()
        self.server.stop()
        self.server = self.replica
        self.server.command("REPLICAOF NO ONE")
        self._lead_to_master()
        self.link.pass_on()
        self.replica = self._another()

    def close(self) -> None:
        super().close()
        self.replica.stop()
        self._own_way.stop()
        self.link.stop()

    def _has_handed_over(self) -> bool:
        # It may give up, as when a replica's connection breaks just then, and is asked again.
        if self.server.command("FAILOVER TIMEOUT 2000") != "+OK":
            return _role(self.replica) == "master"
        with contextlib.suppress(AssertionError):
            until(lambda: _role(self.replica) == "master", "it takes over", 2.5)
        return _role(self.replica) == "master"

    def _another(self) -> RedisServer:
        replica = RedisServer(*self.DURABLE, *self.EAGER, *self._options)
        replica.start()
        self._follow(replica)
        return replica

    def _follow(self, replica: RedisServer) -> None:
        replica.command(f"REPLICAOF 127.0.0.1 {self.link.port}")
        until(lambda: self.server.command("WAIT 1 100") == ":1", "the replica follows")

    def _lead_to_master(self) -> None:
        for proxy in (self.proxy, self._own_way, self.link):
            proxy.server_port = self.server.port
            proxy.reset()
        with self._calling:
            self._connection.close()


def hand_over(stage: Stage, dice: random.Random) -> Fault:
    """A failover in order, of which the law sees nothing."""
    began = time.time()
    replicated(stage).hand_over()
    return Fault("failover in order", began, time.time())


def replicated(stage: Stage) -> ReplicatedStore:
    assert isinstance(stage.store, ReplicatedStore), "this is for Redis with a replica"
    return stage.store


def _role(server: RedisServer) -> str:
    connection = Connection(parse(server.url), connect_timeout=5, timeout=5)
    try:
        return str(connection.call("ROLE")[0].decode())
    finally:
        connection.close()
