"""What a worker was asked to be: the command line and the settings, decided into one set of plain values."""

from __future__ import annotations

from typing import Literal

import msgspec

#: prefork: n children x 1 room. threads, gevent, asyncio: 1 child x k rooms. solo: this process alone.
Pool = Literal["prefork", "threads", "gevent", "asyncio", "solo"]
StartMethod = Literal["fork", "spawn"]
LogFormat = Literal["text", "json"]


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Given to `celeriac.worker.start.run`. The command line has won over the settings before this is made,
    so None never means "look elsewhere": it means no limit, or "choose what fits" where that is said."""

    #: The node's name, `%h %n %d` expanded: worker1@host.
    hostname: str
    pool: Pool = "prefork"
    #: Rooms (threads, gevent, asyncio) or children (prefork); None: choose what fits.
    concurrency: int | None = None
    #: prefork: the most and the fewest children, by what there is to do; None: always as many.
    autoscale: tuple[int, int] | None = None
    #: Children of threads, gevent and asyncio; None is 1.
    processes: int | None = None
    #: The queues to serve, in the order given; None is all that the app declares.
    queues: tuple[str, ...] | None = None
    #: Queues not to serve.
    exclude: tuple[str, ...] = ()
    #: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL.
    loglevel: str = "WARNING"
    #: A path in which each child has still to fill in %i and %I; None is stderr.
    logfile: str | None = None
    log_format: LogFormat = "text"
    #: None as elsewhere in Celery's world: colours when the log goes to a terminal.
    no_color: bool = False
    #: No banner.
    quiet: bool = False
    max_tasks_per_child: int | None = None
    #: KiB of resident memory after which a child is replaced when its task is done.
    max_memory_per_child: int | None = None
    #: Seconds.
    time_limit: float | None = None
    #: Seconds.
    soft_time_limit: float | None = None
    without_heartbeat: bool = False
    #: Seconds between two events that tell monitors of this node.
    heartbeat_interval: float = 2.0
    #: Seconds after which the claims of a node that is silent are given to others.
    lease: float = 30.0
    start_method: StartMethod = "fork"
    #: Remove what waits in the served queues before the first claim.
    purge: bool = False
    #: Modules to import beside those of the settings.
    include: tuple[str, ...] = ()
    pidfile: str | None = None
    #: `[host:]port` of /livez, /readyz and /metrics; None: nobody listens.
    health: str | None = None
    #: Schedule periodic tasks too (-B).
    beat: bool = False
    #: Send task events (-E).
    task_events: bool = False
    #: What -A said; a spawned child imports the app by it. None: the app was made by the command itself.
    app_spec: str | None = None
    #: What was said of the app's own options (`app.user_options`).
    own: dict[str, object] = {}
    #: `ns.key=value` of the command line, already in the app's settings; a spawned child needs them again.
    overrides: dict[str, object] = {}
