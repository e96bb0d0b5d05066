"""What an app says to its workers, and asks them: remote control. `app.control`, `app.control.inspect()`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from celeriac import revoking
from celeriac.conversation import TIMEOUT, Conversation, Speaker
from celeriac.exceptions import DuplicateNodenameWarning, ImproperlyConfigured
from celeriac.patterns import matcher_of

#: What nodes say: {name: value}, one of each.
Replies = list[dict[str, Any]]
#: Name of a node -> what it said.
ByNode = dict[str, Any]


class Control:
    """Say something to all workers, or ask them."""

    def __init__(self, app: Speaker) -> None:
        self.app = app

    # -- asking

    def inspect(
        self,
        destination: Sequence[str] | str | None = None,
        timeout: float = TIMEOUT,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: object = None,
        app: Speaker | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> Inspect:
        """Questions to all workers, or to some of them: `app.control.inspect().active()`.

        `timeout` is how long to wait for the next answer; when all have answered nobody waits.
        """
        return Inspect(destination, timeout, callback, connection, app or self.app, limit, pattern, matcher)

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | str | None = None,
        connection: object = None,
        reply: bool = False,
        timeout: float | None = TIMEOUT,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        channel: object = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **more_arguments: Any,
    ) -> Replies | None:
        """Say a command to all workers, or some of them. With `reply` their answers, [{node: value}].

        An unknown command is answered with an error by every worker; `celeriac inspect --list` shows them.
        """
        if pattern is not None:
            matcher_of(pattern, matcher)  # a mistake in it is told here, and not by every worker
        conversation = Conversation(self.app)
        names = [destination] if isinstance(destination, str) else destination
        said = {**(arguments or {}), **more_arguments}
        if not reply:
            conversation.say(command, said, names, pattern, matcher)
            return None
        replies: Replies = []
        answers = conversation.ask(
            command, said, names, pattern, matcher, TIMEOUT if timeout is None else timeout, limit
        )
        for answer in answers:
            replies.append({answer.node: answer.value})
            if callback is not None:
                callback(replies[-1])
        return replies

    def ping(
        self, destination: Sequence[str] | str | None = None, timeout: float = TIMEOUT, **options: Any
    ) -> Replies:
        """Who is there: [{node: {"ok": "pong"}}]."""
        return self._asked("ping", {}, destination=destination, timeout=timeout, **options)

    # -- tasks

    def revoke(
        self,
        task_id: Any,
        destination: Sequence[str] | str | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> Replies | None:
        """None of these tasks (an id, a result, or several) begins from now on, on any worker, now or later.

        It is the store that remembers, so workers need not be up, and none has to answer. With `terminate`
        one that runs is ended too: on prefork its process is killed, elsewhere an error is raised in it.
        """
        several = isinstance(task_id, Iterable) and not isinstance(task_id, str)
        ids = [str(one) for one in (task_id if several else (task_id,))]
        revoking.revoke(self.app, ids)
        return self.tell_revoked(ids if several else ids[0], destination, terminate, signal, **options)

    def tell_revoked(
        self,
        task_id: str | Sequence[str],
        destination: Sequence[str] | str | None = None,
        terminate: bool = False,
        signal: str | None = "SIGTERM",
        **options: Any,
    ) -> Replies | None:
        """What is kept already: for stock workers, which keep lists of their own, and for what runs."""
        said = {"task_id": task_id, "terminate": terminate, "signal": signal, "kept": True}
        return self.broadcast("revoke", said, destination, **options)

    def terminate(
        self,
        task_id: Any,
        destination: Sequence[str] | str | None = None,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> Replies | None:
        """As `revoke`, and what runs is ended."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Sequence[str] | str | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> Replies | None:
        """As `revoke`, for all tasks with one of these stamps: {"customer": "c1"}, or a list of values."""
        revoking.revoke_stamps(self.app, headers)
        said = {"headers": dict(headers), "terminate": terminate, "signal": signal, "kept": True}
        return self.broadcast("revoke_by_stamped_headers", said, destination, **options)

    def rate_limit(
        self,
        task_name: str,
        rate_limit: str | float | None,
        destination: Sequence[str] | str | None = None,
        **options: Any,
    ) -> Replies | None:
        """Another rate limit for a task on every worker: "10/m"; 0 or None is none."""
        said = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", said, destination, **options)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Sequence[str] | str | None = None,
        **options: Any,
    ) -> Replies | None:
        """Other time limits, in seconds, for runs of this task that begin from now on."""
        said = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", said, destination, **options)

    # -- queues

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Sequence[str] | str | None = None,
        **more: Any,
    ) -> Replies | None:
        """Serve this queue too."""
        said = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", said, destination, **more)

    def cancel_consumer(
        self, queue: str, destination: Sequence[str] | str | None = None, **options: Any
    ) -> Replies | None:
        """Serve this queue no longer."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **options)

    def pause(self, queue: str) -> None:
        """Nobody claims from this queue, whichever worker, now or later, until `resume`."""
        self.app.broker.pause(queue)

    def resume(self, queue: str) -> None:
        """It is served again."""
        self.app.broker.resume(queue)

    def drain(self, queue: str, timeout: float | None = None) -> int:
        """Pause it and wait until nothing of it runs; returns how many tasks still did when time was over."""
        self.pause(queue)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            claimed = self.app.broker.depth([queue])[queue].claimed
            if not claimed or (deadline is not None and time.monotonic() >= deadline):
                return claimed
            time.sleep(0.1)

    def purge(self, connection: object = None) -> int:
        """Remove what waits in the app's queues; returns how many messages. There is no undo."""
        return self.app.purge(self.app.router.consumed())

    discard_all = purge

    # -- workers

    def enable_events(self, destination: Sequence[str] | str | None = None, **options: Any) -> Replies | None:
        """Let workers tell of their tasks."""
        return self.broadcast("enable_events", {}, destination, **options)

    def disable_events(
        self, destination: Sequence[str] | str | None = None, **options: Any
    ) -> Replies | None:
        """Let them tell no longer."""
        return self.broadcast("disable_events", {}, destination, **options)

    def pool_grow(
        self, n: int = 1, destination: Sequence[str] | str | None = None, **options: Any
    ) -> Replies | None:
        """So many children more."""
        return self.broadcast("pool_grow", {"n": n}, destination, **options)

    def pool_shrink(
        self, n: int = 1, destination: Sequence[str] | str | None = None, **options: Any
    ) -> Replies | None:
        """So many children less, the idle ones first; what runs is finished."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **options)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: object = None,
        destination: Sequence[str] | str | None = None,
        **options: Any,
    ) -> Replies | None:
        """New children, with these modules imported, or imported anew."""
        said = {"modules": modules, "reload": reload}
        return self.broadcast("pool_restart", said, destination, **options)

    def autoscale(
        self, max: int, min: int, destination: Sequence[str] | str | None = None, **options: Any
    ) -> Replies | None:
        """Other bounds for a worker that was started with --autoscale."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **options)

    def shutdown(
        self, destination: Sequence[str] | str | None = None, timeout: float = TIMEOUT, **options: Any
    ) -> Replies | None:
        """Let them finish what runs and end."""
        return self.broadcast("shutdown", {}, destination, timeout=timeout, **options)

    def heartbeat(self, destination: Sequence[str] | str | None = None, **options: Any) -> Replies | None:
        """Let each tell of itself now."""
        return self.broadcast("heartbeat", {}, destination, **options)

    def election(
        self, id: str, topic: str, action: Any = None, connection: object = None, **options: Any
    ) -> Replies | None:
        """Refused by celeriac workers, which elect nobody: what is to happen once, is a task."""
        said = {"id": id, "topic": topic, "action": action}
        return self.broadcast("election", said, **options)

    def _asked(self, command: str, arguments: Mapping[str, Any], **options: Any) -> Replies:
        return self.broadcast(command, arguments, reply=True, **options) or []


class Inspect:
    """Questions to workers; each gives {node: answer}, or None if nobody answered."""

    def __init__(
        self,
        destination: Sequence[str] | str | None = None,
        timeout: float = TIMEOUT,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: object = None,
        app: Speaker | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        if app is None:
            raise ImproperlyConfigured("of which app? Use app.control.inspect()")
        self.app = app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def ask(self, command: str, **arguments: Any) -> Any:
        """Any question, also one of your own (`celeriac.panel.inspect_command`)."""
        replies = Control(self.app).broadcast(
            command,
            arguments,
            self.destination,
            reply=True,
            timeout=self.timeout,
            limit=self.limit,
            callback=self.callback,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        if not replies:
            return None
        by_node = flatten_reply(replies)
        return by_node.get(self.destination) if isinstance(self.destination, str) else by_node

    def active(self, safe: object = None) -> ByNode | None:
        """What runs just now."""
        return self._ask("active", safe=safe)

    def reserved(self, safe: object = None) -> ByNode | None:
        """What a worker holds and has not begun: mostly nothing, for it claims a few milliseconds ahead."""
        return self._ask("reserved")

    def scheduled(self, safe: object = None) -> ByNode | None:
        """What waits for its time in the queues that a worker serves."""
        return self._ask("scheduled")

    def registered(self, *taskinfoitems: str) -> ByNode | None:
        """The tasks that a worker knows, with these of their attributes."""
        return self._ask("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    def revoked(self) -> ByNode | None:
        """Ids of tasks that shall not begin, the last ones first."""
        return self._ask("revoked")

    def query_task(self, *ids: Any) -> ByNode | None:
        """Where these tasks are: {node: {id: [state, info]}}."""
        several = ids[0] if len(ids) == 1 and isinstance(ids[0], list | tuple) else ids
        return self._ask("query_task", ids=several)

    def active_queues(self) -> ByNode | None:
        """The queues that a worker serves."""
        return self._ask("active_queues")

    def stats(self) -> ByNode | None:
        """Numbers of all kinds."""
        return self._ask("stats")

    def report(self) -> ByNode | None:
        """What to tell somebody who shall help you."""
        return self._ask("report")

    def conf(self, with_defaults: bool = False) -> ByNode | None:
        """Settings, without secrets."""
        return self._ask("conf", with_defaults=with_defaults)

    def clock(self) -> ByNode | None:
        """The logical clock of each."""
        return self._ask("clock")

    def hello(self, from_node: str, revoked: object = None) -> ByNode | None:
        """What a stock worker asks its neighbours when it starts."""
        return self._ask("hello", from_node=from_node, revoked=revoked)

    def ping(self, destination: Sequence[str] | str | None = None) -> ByNode | None:
        """Who is there."""
        if destination:
            self.destination = destination
        return self._ask("ping")

    def memsample(self) -> ByNode | None:
        """Note how much memory is used, for memdump."""
        return self._ask("memsample")

    def memdump(self, samples: int = 10) -> ByNode | None:
        """The last notes of memsample."""
        return self._ask("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> ByNode | None:
        """Refused by celeriac workers."""
        return self._ask("objgraph", num=n, max_depth=max_depth, type=type)

    def _ask(self, command: str, **arguments: Any) -> ByNode | None:
        found: ByNode | None = self.ask(command, **arguments)
        return found


def flatten_reply(replies: Iterable[Mapping[str, Any]]) -> ByNode:
    """[{node: value}, ...] as one mapping; a node that answered twice is told of."""
    nodes: ByNode = {}
    double: set[str] = set()
    for reply in replies:
        double.update(nodes.keys() & reply.keys())
        nodes.update(reply)
    if double:
        warnings.warn(
            f"several nodes answer to one name: {', '.join(sorted(double))}. Give each its own with -n",
            DuplicateNodenameWarning,
            stacklevel=2,
        )
    return nodes
