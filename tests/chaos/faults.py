"""The faults: each is done to a stage, healed, and said in words."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from chaos.life import Life, lives
from chaos.stage import RedisStore, Stage, frozen, group, kill, until


class Fault(NamedTuple):
    """What happened, and when it was over."""

    name: str
    began: float
    healed: float
    #: The processes that died of it: what they ran may run again.
    dead: tuple[Life, ...] = ()
    #: Those that came back as zombies: what they had in hand may run again.
    zombies: tuple[Life, ...] = ()


#: Does it, and returns once it is healed.
Inflict = Callable[[Stage, random.Random], Fault]


def kill_a_child(stage: Stage, dice: random.Random) -> Fault:
    """SIGKILL one child; its parent replaces it."""
    began = time.time()
    worker = dice.choice([worker for worker in stage.workers if worker.running])
    children = stage.children(worker)
    if not children:
        return Fault("no child to kill", began, began)
    victim = dice.choice(children)
    dead = lives([victim])
    kill(victim)
    until(lambda: victim not in stage.children(worker), "the dead child is reaped")
    return Fault("child killed", began, time.time(), dead)


def kill_a_supervisor(stage: Stage, dice: random.Random) -> Fault:
    """SIGKILL a parent; its children return what they hold. Another worker takes its place."""
    began = time.time()
    worker = dice.choice([worker for worker in stage.workers if worker.running])
    dead = lives(group(worker))
    kill(worker.pid)
    worker.wait()
    stage.replace(worker)
    return Fault("supervisor killed", began, time.time(), dead)


def kill_a_worker(stage: Stage, dice: random.Random) -> Fault:
    """SIGKILL parent and children at once, as a machine that loses power. Its lease has to run out."""
    began = time.time()
    worker = dice.choice([worker for worker in stage.workers if worker.running])
    dead = lives(group(worker))
    worker.kill()
    stage.replace(worker)
    return Fault("worker killed", began, time.time(), dead)


def reset_connections(stage: Stage, dice: random.Random) -> Fault:
    """RST for every connection of the workers."""
    began = time.time()
    _redis(stage).proxy.reset()
    return Fault("connections reset", began, time.time())


def client_kill(stage: Stage, dice: random.Random) -> Fault:
    """The server throws everybody out."""
    began = time.time()
    _redis(stage).server.command("CLIENT", "KILL", "TYPE", "normal")
    return Fault("CLIENT KILL", began, time.time())


def cut_after_some_bytes(stage: Stage, dice: random.Random) -> Fault:
    """A reply gets through in part, then its connection is reset."""
    began = time.time()
    proxy, size = _redis(stage).proxy, dice.choice((1, 20, 200, 2_000))
    cuts = proxy.cuts
    proxy.cut_after(size)
    until(lambda: proxy.cuts > cuts, "a connection is cut")
    return Fault(f"reply cut after {size} bytes", began, time.time())


def cut_replies(stage: Stage, dice: random.Random) -> Fault:
    """For a while one reply in ten is lost with its connection, after the server has done the work."""
    began = time.time()
    proxy, seconds = _redis(stage).proxy, dice.uniform(0.5, 1.5)
    proxy.cut_replies(0.1, seed=dice.randrange(1 << 30))
    time.sleep(seconds)
    proxy.cut_replies(0.0)
    return Fault(f"replies cut for {seconds:.1f} s", began, time.time())


def refuse(stage: Stage, dice: random.Random) -> Fault:
    """Nobody listens at the address for a while."""
    began = time.time()
    proxy, seconds = _redis(stage).proxy, _outage(dice)
    proxy.refuse()
    time.sleep(seconds)
    proxy.start()
    return Fault(f"refused for {seconds:.1f} s", began, time.time())


def black_hole(stage: Stage, dice: random.Random) -> Fault:
    """Nothing gets through; then all of it comes late."""
    began = time.time()
    proxy, seconds = _redis(stage).proxy, _outage(dice)
    proxy.swallow()
    time.sleep(seconds)
    proxy.pass_on()
    return Fault(f"black hole of {seconds:.1f} s", began, time.time())


def forgetful_black_hole(stage: Stage, dice: random.Random) -> Fault:
    """Nothing gets through; then new connections do, and the old ones stay silent for ever."""
    began = time.time()
    proxy, seconds = _redis(stage).proxy, _outage(dice)
    proxy.swallow()
    time.sleep(seconds)
    proxy.pass_on(forget=True)
    return Fault(f"forgetful black hole of {seconds:.1f} s", began, time.time())


def pause_redis(stage: Stage, dice: random.Random) -> Fault:
    """SIGSTOP for Redis."""
    began = time.time()
    seconds = _outage(dice)
    with frozen(_redis(stage).server.pid):
        time.sleep(seconds)
    return Fault(f"Redis paused for {seconds:.1f} s", began, time.time())


def pause_redis_for_long(stage: Stage, dice: random.Random) -> Fault:
    """As `pause_redis`, for as long as an outage may last."""
    with lasting(_between[1], _between[1]):
        return pause_redis(stage, dice)


def restart_redis(stage: Stage, dice: random.Random) -> Fault:
    """SIGKILL for Redis, and a new start with what its file holds."""
    began = time.time()
    _redis(stage).server.restart()
    return Fault("Redis restarted", began, time.time())


def freeze_a_worker(stage: Stage, dice: random.Random) -> Fault:
    """SIGSTOP for parent and children past the lease: others take over, and it comes back as a zombie."""
    began = time.time()
    worker = dice.choice([worker for worker in stage.workers if worker.running])
    pids = group(worker)
    zombies = lives(pids)
    with frozen(*pids):
        time.sleep(stage.lease * 1.8)
    return Fault("worker frozen past its lease", began, time.time(), zombies=zombies)


PROCESSES: tuple[Inflict, ...] = (kill_a_child, kill_a_child, kill_a_supervisor, kill_a_worker)
CONNECTIONS: tuple[Inflict, ...] = (reset_connections, client_kill, cut_after_some_bytes, cut_replies)
OUTAGES: tuple[Inflict, ...] = (refuse, black_hole, forgetful_black_hole, pause_redis, restart_redis)

#: Seconds between which an outage lasts.
_between = [0.5, 2.0]


@contextlib.contextmanager
def lasting(least: float, most: float) -> Iterator[None]:
    """How long outages last from now on."""
    before = _between[:]
    _between[:] = [least, most]
    try:
        yield
    finally:
        _between[:] = before


def _outage(dice: random.Random) -> float:
    # Short ones are as many as long ones.
    least, most = _between
    return float(least * (most / least) ** dice.random())


def _redis(stage: Stage) -> RedisStore:
    assert isinstance(stage.store, RedisStore), "this fault is for Redis"
    return stage.store
