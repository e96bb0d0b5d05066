"""The table of all settings: name, default, type, one line of help, and whether it has an effect here."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Any, Literal

import msgspec

Status = Literal["honoured", "no effect", "later"]


class Setting(msgspec.Struct, frozen=True):
    """One setting."""

    name: str
    default: Any
    #: bool, int, float (mostly seconds; a timedelta fits too), str, bytes, list, dict; object is anything.
    type: type
    help: str
    status: Status = "honoured"
    #: Why it has no effect here.
    reason: str = ""
    #: The upper-case name of Celery 3; empty for settings that it did not have.
    old: str = ""
    #: The least number that makes sense; None is any.
    least: float | None = 0
    #: Words that are taken in place of a number.
    words: tuple[str, ...] = ()


#: Settings whose old name is a new prefix before the rest; those of no group are only in upper case.
_OLD_PREFIXES = (("task_", "CELERY_"), ("worker_", "CELERYD_"), ("beat_", "CELERYBEAT_"))
#: Settings whose old name is CELERY_ before the whole.
_OLD_WHOLE = (
    "accept_content",
    "imports",
    "include",
    "timezone",
    "result_",
    "event_",
    "redis_",
    "cache_",
    "security_",
    "elasticsearch_",
    "couchbase_",
    "arangodb_",
    "mongodb_",
)
#: Old names that follow no rule.
_OLD_EXCEPTIONS = {
    "database_engine_options": "CELERY_RESULT_ENGINE_OPTIONS",
    "database_short_lived_sessions": "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    "database_table_names": "CELERY_RESULT_DB_TABLENAMES",
    "database_url": "CELERY_RESULT_DBURI",
    "result_accept_content": "RESULT_ACCEPT_CONTENT",
    "result_cache_max": "CELERY_MAX_CACHED_RESULTS",
    "result_expires": "CELERY_TASK_RESULT_EXPIRES",
    "task_compression": "CELERY_MESSAGE_COMPRESSION",
    "task_eager_propagates": "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "task_protocol": "CELERY_TASK_PROTOCOL",
    "task_publish_retry": "CELERY_TASK_PUBLISH_RETRY",
    "task_publish_retry_policy": "CELERY_TASK_PUBLISH_RETRY_POLICY",
    "task_send_sent_event": "CELERY_SEND_TASK_SENT_EVENT",
    "task_serializer": "CELERY_TASK_SERIALIZER",
    "task_soft_time_limit": "CELERYD_TASK_SOFT_TIME_LIMIT",
    "task_time_limit": "CELERYD_TASK_TIME_LIMIT",
    "worker_direct": "CELERY_WORKER_DIRECT",
    "worker_disable_rate_limits": "CELERY_DISABLE_RATE_LIMITS",
    "worker_enable_remote_control": "CELERY_ENABLE_REMOTE_CONTROL",
    "worker_lost_wait": "CELERYD_WORKER_LOST_WAIT",
    "worker_redirect_stdouts": "CELERY_REDIRECT_STDOUTS",
    "worker_redirect_stdouts_level": "CELERY_REDIRECT_STDOUTS_LEVEL",
    "worker_send_task_events": "CELERY_SEND_EVENTS",
}


def _old_name(name: str) -> str:
    if name in _OLD_EXCEPTIONS:
        return _OLD_EXCEPTIONS[name]
    if name.startswith(_OLD_WHOLE):
        return "CELERY_" + name.upper()
    for prefix, old in _OLD_PREFIXES:
        if name.startswith(prefix):
            return old + name.removeprefix(prefix).upper()
    return name.upper()


def _known(name: str, default: Any, type: type, help: str, **more: Any) -> Setting:
    return Setting(name, default, type, help, old=_old_name(name), **more)


def _later(name: str, default: Any, type: type, help: str, **more: Any) -> Setting:
    return _known(name, default, type, help, status="later", **more)


def _idle(name: str, default: Any, type: type, help: str, reason: str, **more: Any) -> Setting:
    return _known(name, default, type, help, status="no effect", reason=reason, **more)


def _unlisted(name: str, default: Any, type: type, help: str) -> Setting:
    """Read by Celery and absent from its own list of defaults: there is no old name."""
    is_known = name in ("worker_logfile", "worker_pidfile")
    return Setting(name, default, type, help, status="honoured" if is_known else "later")


def _ours(name: str, default: Any, type: type, help: str, **more: Any) -> Setting:
    return Setting(name, default, type, help, **more)


_NO_QUEUES = "remote control and events need no queues of their own"
_NO_AMQP = "only AMQP brokers need it"
_BY_TIME = "children claim by expected time, never by count"
_NO_BOOTSTEPS = "the worker is not put together from named classes"
_IN_THE_STORE = "chords are counted in the store"
_LEASE = "a claim belongs to its owner as long as the node's lease is renewed"

_ROWS = (
    # --- ours ---------------------------------------------------------------------------------------------
    _ours(
        "middleware", (), list, "What every call passes, outermost first: instances, classes, import paths."
    ),
    _ours("task_stream_buffer", 1000, int, "Parts kept of what a task yields, for who reads late.", least=1),
    _ours("task_max_deliveries", 3, int, "Deaths of its child after which a task is a dead letter.", least=1),
    _ours(
        "task_max_bytes",
        256 << 20,
        int,
        "Size above which a message is refused where it is sent, a dead letter where it comes, and a result "
        "a failure.",
        least=1,
    ),
    _ours("task_unknown_delay", 5.0, float, "Seconds a task that nobody registered waits for its next try."),
    _ours("task_revokes_expire", timedelta(days=7), float, "Seconds to keep a revoke; None is for ever."),
    _ours("publish_timeout", 5.0, float, "Seconds a producer tries to reach the broker before it raises."),
    _ours(
        "worker_lease", 30.0, float, "Seconds of silence after which a node's claims go to others.", least=1
    ),
    _ours("worker_log_json", False, bool, "One JSON object a log line."),
    _ours("worker_processes", None, int, "Children of the threads, gevent and asyncio pools; None is 1."),
    # --- general ------------------------------------------------------------------------------------------
    _known("accept_content", ("json",), list, "Serializers or content types that are decoded."),
    _known("enable_utc", True, bool, "Times on the wire are UTC."),
    _known("imports", (), list, "Modules that a worker imports when it starts."),
    _known("include", (), list, "More modules to import, after imports."),
    _known("timezone", None, str, "Name of the time zone of naive times and schedules; None is UTC."),
    # --- broker -------------------------------------------------------------------------------------------
    _known("broker_url", None, object, "Where messages go; None is sqlite:///celeriac.db."),
    _known("broker_read_url", None, object, "Where workers read, if not at broker_url."),
    _known("broker_write_url", None, object, "Where producers write, if not at broker_url."),
    _idle("broker_transport", None, str, "Scheme of a broker given in parts.", "give broker_url"),
    _known("broker_transport_options", {}, dict, "Options of the driver, such as global_keyprefix."),
    _known("broker_connection_timeout", 4.0, float, "Seconds in which a connection must stand."),
    _known("broker_connection_retry", True, bool, "A worker reconnects when it lost its broker."),
    _known("broker_connection_retry_on_startup", None, bool, "The same for the first connection."),
    _known("broker_connection_max_retries", 100, int, "Tries before a worker gives up; None or 0 is never."),
    _idle(
        "broker_channel_error_retry",
        False,
        bool,
        "Reconnect on channel errors too.",
        "every error of the connection is retried",
    ),
    _later("broker_failover_strategy", None, object, "How the next of several broker URLs is chosen."),
    _idle("broker_heartbeat", 120, float, "Seconds between AMQP heartbeats.", _NO_AMQP),
    _idle("broker_heartbeat_checkrate", 3.0, float, "Checks in one heartbeat period.", _NO_AMQP),
    _later("broker_login_method", None, str, "SASL mechanism of AMQP."),
    _later("broker_native_delayed_delivery_queue_type", "quorum", str, "Type of RabbitMQ's delay queues."),
    _idle(
        "broker_pool_limit",
        10,
        int,
        "Connections kept open by producers.",
        "each driver keeps the few that it needs",
    ),
    _idle(
        "broker_pool_acquire_timeout",
        None,
        float,
        "Seconds to wait for one of them.",
        "publish_timeout bounds the whole of sending",
    ),
    _known("broker_use_ssl", False, object, "True, or a dict of ssl options."),
    _idle("broker_host", None, str, "Host of a broker given in parts.", "give broker_url"),
    _idle("broker_port", None, int, "Port of a broker given in parts.", "give broker_url"),
    _idle("broker_user", None, str, "User of a broker given in parts.", "give broker_url"),
    _idle("broker_password", None, str, "Password of a broker given in parts.", "give broker_url"),
    _idle("broker_vhost", None, str, "Virtual host of a broker given in parts.", "give broker_url"),
    # --- remote control and events ------------------------------------------------------------------------
    _idle("control_queue_ttl", 300.0, float, "Seconds a command waits for its worker.", _NO_QUEUES),
    _idle("control_queue_expires", 10.0, float, "Seconds an unused reply queue stays.", _NO_QUEUES),
    _idle("control_queue_exclusive", True, bool, "Control queues belong to one connection.", _NO_QUEUES),
    _idle(
        "control_queue_durable", False, bool, "Control queues outlive a restart of the broker.", _NO_QUEUES
    ),
    _known("control_exchange", "celery", str, "Prefix of the names of remote control."),
    _idle(
        "event_queue_expires", 60.0, float, "Seconds the queue of an event reader stays unused.", _NO_QUEUES
    ),
    _idle("event_queue_ttl", 5.0, float, "Seconds an event waits for its reader.", _NO_QUEUES),
    _idle("event_queue_prefix", "celeryev", str, "Prefix of event readers' queues.", _NO_QUEUES),
    _idle("event_queue_exclusive", True, bool, "Event queues belong to one connection.", _NO_QUEUES),
    _idle("event_queue_durable", False, bool, "Event queues outlive a restart of the broker.", _NO_QUEUES),
    _idle("event_serializer", "json", str, "Serializer of events.", "every monitor reads JSON"),
    _known("event_exchange", "celeryev", str, "Name under which events are published."),
    # --- tasks --------------------------------------------------------------------------------------------
    _known("task_acks_late", True, bool, "Acknowledge when the task ends; False: when it starts."),
    _known("task_acks_on_failure_or_timeout", True, bool, "Failed and timed out tasks are acknowledged."),
    _known("task_acks_on_failure", None, bool, "The same for failures; None follows the pair."),
    _known("task_acks_on_timeout", None, bool, "The same for time limits; None follows the pair."),
    _known("task_always_eager", False, bool, "apply_async() runs the task here and now."),
    _known("task_annotations", None, object, "Attributes to change on tasks, by their names."),
    _known("task_compression", None, str, "Compression of messages: gzip, bzip2 or lzma."),
    _known(
        "task_create_missing_queues", True, bool, "Queues that task_queues lacks come to be by themselves."
    ),
    _later("task_create_missing_queue_type", "classic", str, "RabbitMQ type of such a queue."),
    _later("task_create_missing_queue_exchange_type", None, str, "Exchange type of such a queue."),
    _known("task_inherit_parent_priority", False, bool, "A task that is sent by a task has its priority."),
    _idle(
        "task_default_delivery_mode",
        2,
        object,
        "persistent (2) or transient (1).",
        "a store keeps every message as long as it lives",
    ),
    _known("task_default_queue", "celery", str, "The queue of tasks without a route."),
    _later("task_default_queue_type", "classic", str, "RabbitMQ type of the default queue."),
    _known("task_default_exchange", None, str, "Exchange named in messages; None is the queue's name."),
    _known("task_default_exchange_type", "direct", str, "direct, topic or fanout."),
    _known("task_default_routing_key", None, str, "Routing key of the default queue; None is its name."),
    _known("task_default_rate_limit", None, object, "Rate limit of tasks that have none: 10/s, 5/m."),
    _known("task_default_priority", None, int, "Priority of tasks that have none; 0 goes first.", least=None),
    _known("task_eager_propagates", False, bool, "Errors of eager tasks are raised at the caller."),
    _known("task_ignore_result", False, bool, "Keep no results."),
    _known("task_store_eager_result", False, bool, "Keep the results of eager tasks too."),
    _known("task_protocol", 2, int, "Version of the task message that is sent.", least=1),
    _idle(
        "task_publish_retry",
        True,
        bool,
        "Try again when a message could not be sent.",
        "it is always tried again until publish_timeout is over, and never stored twice",
    ),
    _idle(
        "task_publish_retry_policy",
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
        dict,
        "How sending is tried again.",
        "publish_timeout bounds it; the pauses are the driver's",
    ),
    _known("task_queues", None, object, "The queues there are: names, Queue objects, or a dict of options."),
    _later("task_queue_max_priority", None, int, "Highest priority of RabbitMQ queues."),
    _idle(
        "task_reject_on_worker_lost",
        None,
        bool,
        "A late-acknowledged task returns when its child dies.",
        "it always does, up to task_max_deliveries times",
    ),
    _later("task_retry_on_worker_lost", False, bool, "A child's death counts as a retry of the task."),
    _later("task_remote_tracebacks", False, bool, "Results carry tracebacks that can be raised."),
    _idle(
        "task_repr_maxlevels",
        3,
        int,
        "Depth of the arguments that messages show for people.",
        "arguments are told by Python's own repr, cut at 1,024 characters",
    ),
    _known("task_routes", None, object, "Which task goes to which queue: a dict, pairs, or functions."),
    _known("task_send_sent_event", False, bool, "Producers tell of each task they send."),
    _known("task_serializer", "json", str, "Serializer of arguments: json, pickle, yaml, msgpack."),
    _known(
        "task_soft_time_limit",
        None,
        float,
        "Seconds after which SoftTimeLimitExceeded is raised in the task.",
    ),
    _known("task_time_limit", None, float, "Seconds after which a task's process is stopped."),
    _known("task_store_errors_even_if_ignored", False, bool, "Keep failures also where results are ignored."),
    _known("task_track_started", False, bool, "Write STARTED when a task begins."),
    _known(
        "task_allow_error_cb_on_chord_header", False, bool, "A chord's error callback hears its header too."
    ),
    # --- worker -------------------------------------------------------------------------------------------
    _idle("worker_agent", None, object, "Class of an agent beside the worker.", _NO_BOOTSTEPS),
    _later("worker_autoscaler", "celery.worker.autoscale:Autoscaler", object, "Class that sizes the pool."),
    _idle(
        "worker_cancel_long_running_tasks_on_connection_loss",
        False,
        bool,
        "Stop late-acknowledged tasks when the broker is lost.",
        _LEASE,
    ),
    _known("worker_soft_shutdown_timeout", 0.0, float, "Seconds that tasks get before a cold shutdown."),
    _idle(
        "worker_enable_soft_shutdown_on_idle",
        False,
        bool,
        "Wait these seconds also with nothing running.",
        "an idle worker holds no message, not even a delayed one, so there is nothing to wait for",
    ),
    _known("worker_concurrency", None, int, "Tasks at a time; None or auto is what fits.", words=("auto",)),
    _idle("worker_consumer", "celery.worker.consumer:Consumer", object, "Consumer class.", _NO_BOOTSTEPS),
    _known("worker_direct", False, bool, "Each worker also serves a queue of its own name."),
    _known("worker_disable_rate_limits", False, bool, "Rate limits of tasks do not count."),
    _known("worker_deduplicate_successful_tasks", False, bool, "Skip a redelivered task that succeeded."),
    _known("worker_enable_remote_control", True, bool, "The worker answers remote control."),
    _known("worker_hijack_root_logger", True, bool, "The worker replaces the handlers of the root logger."),
    _known("worker_log_color", None, bool, "Coloured log lines; None is where there is a terminal."),
    _known("worker_log_datefmt", None, str, "Date format of log lines."),
    _known(
        "worker_log_format",
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        str,
        "Format of log lines.",
    ),
    _idle(
        "worker_lost_wait",
        10.0,
        float,
        "Seconds to wait for the result of a lost child.",
        "the child's slot says at once how far it had come",
    ),
    _known("worker_max_memory_per_child", None, int, "KiB of memory after which a child is replaced."),
    _known("worker_max_tasks_per_child", None, int, "Tasks after which a child is replaced."),
    _known("worker_pool", "prefork", object, "prefork, threads, gevent, asyncio or solo."),
    _idle("worker_pool_putlocks", True, bool, "Hand out no task without a free place.", "it is always so"),
    _known("worker_pool_restarts", False, bool, "The pool may be restarted by remote control."),
    _known("worker_pool_start_method", "fork", str, "fork or spawn."),
    _later("worker_proc_alive_timeout", 4.0, float, "Seconds that a child gets to come up."),
    _idle("worker_prefetch_multiplier", 4, int, "Messages held ahead for each room.", _BY_TIME),
    _idle(
        "worker_eta_task_limit",
        None,
        int,
        "Delayed tasks held in memory.",
        "delayed messages wait in the store",
    ),
    _idle(
        "worker_enable_prefetch_count_reduction",
        True,
        bool,
        "Hold fewer messages after a reconnect.",
        _BY_TIME,
    ),
    _idle("worker_disable_prefetch", False, bool, "Fetch only with a free room.", _BY_TIME),
    _known("worker_redirect_stdouts", True, bool, "What tasks print becomes log lines."),
    _known("worker_redirect_stdouts_level", "WARNING", object, "Level of these lines."),
    _known("worker_send_task_events", False, bool, "Tell monitors of every task."),
    _idle(
        "worker_state_db",
        None,
        str,
        "File that keeps revoked ids over a restart.",
        "revokes are kept in the broker",
    ),
    _known("worker_task_log_datefmt", None, str, "Date format of the lines of task loggers."),
    _known(
        "worker_task_log_format",
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
        str,
        "Format of the lines of task loggers.",
    ),
    _idle("worker_timer", None, object, "Timer class of the pool.", _NO_BOOTSTEPS),
    _idle("worker_timer_precision", 1.0, float, "Seconds between looks at the timer.", "waits end exactly"),
    _later("worker_detect_quorum_queues", True, bool, "Handle RabbitMQ's quorum queues."),
    # --- beat ---------------------------------------------------------------------------------------------
    _known("beat_enable_remote_control", False, bool, "Beat answers to ping."),
    _known(
        "beat_remote_control_max_tick_age",
        None,
        float,
        "Seconds without a tick that make it silent; None: 30.",
    ),
    _known("beat_max_loop_interval", 0, float, "Longest sleep of beat in seconds; 0 and more than 1 is 1."),
    _known("beat_schedule", {}, dict, "Periodic tasks: a name and its entry."),
    _known("beat_scheduler", "celery.beat:PersistentScheduler", object, "Class of a scheduler of others."),
    _known("beat_schedule_filename", "celerybeat-schedule", str, "File of schedulers of others."),
    _known("beat_sync_every", 0, int, "Tasks between two savings of schedulers of others; 0: by time."),
    _known("beat_cron_starting_deadline", None, float, "Seconds that a missed run of a crontab may be late."),
    _ours(
        "beat_lease",
        10.0,
        float,
        "Seconds after which another scheduler takes over from a silent one.",
        least=1,
    ),
    _ours("beat_group", None, str, "Schedulers of one group share a schedule; None is the app's name."),
    # --- results ------------------------------------------------------------------------------------------
    _known("result_accept_content", None, list, "Like accept_content, for results; None is the same."),
    _known("result_backend", None, object, "Where results go; None is nowhere if a broker is given."),
    _idle(
        "result_cache_max",
        -1,
        int,
        "Results kept in the client's memory.",
        "each AsyncResult keeps its own",
        least=None,
    ),
    _known("result_compression", None, str, "Compression of results."),
    _idle("result_exchange", "celeryresults", str, "Exchange of the rpc store.", _NO_AMQP),
    _idle("result_exchange_type", "direct", str, "Its type.", _NO_AMQP),
    _known("result_expires", timedelta(days=1), float, "Seconds to keep a result; None or 0 is for ever."),
    _known("result_chord_expires", None, float, "The same for the counters of chords."),
    _known("result_failure_expires", None, float, "The same for failures; None is as result_expires."),
    _idle("result_persistent", None, bool, "Results of the rpc store outlive the broker.", _NO_AMQP),
    _known("result_extended", False, bool, "Keep name, arguments and worker beside the result."),
    _known("result_serializer", "json", str, "Serializer of results."),
    _known("result_backend_transport_options", {}, dict, "Options of the result store."),
    _idle("result_chord_retry_interval", 1.0, float, "Seconds between looks at a chord.", _IN_THE_STORE),
    _idle("result_chord_join_timeout", 3.0, float, "Seconds to collect a chord's results.", _IN_THE_STORE),
    _idle(
        "result_backend_max_sleep_between_retries_ms",
        10000,
        int,
        "Longest pause before a result is stored again.",
        "a result is settled with its message, until both are",
    ),
    _idle(
        "result_backend_max_retries",
        inf,
        float,
        "Tries to store a result.",
        "a result is settled with its message, until both are",
    ),
    _idle(
        "result_backend_base_sleep_between_retries_ms",
        10,
        int,
        "First pause before a result is stored again.",
        "a result is settled with its message, until both are",
    ),
    _idle(
        "result_backend_always_retry",
        False,
        bool,
        "Try again to store a result.",
        "a result is settled with its message, until both are",
    ),
    # --- redis --------------------------------------------------------------------------------------------
    _known("redis_backend_use_ssl", None, object, "ssl options of the result store."),
    _idle("redis_db", None, int, "Database of a store given in parts.", "give result_backend"),
    _idle("redis_host", None, str, "Host of a store given in parts.", "give result_backend"),
    _idle("redis_max_connections", None, int, "Most connections.", "the driver keeps the few that it needs"),
    _idle("redis_username", None, str, "User of a store given in parts.", "give result_backend"),
    _idle("redis_password", None, str, "Password of a store given in parts.", "give result_backend"),
    _idle("redis_port", None, int, "Port of a store given in parts.", "give result_backend"),
    _idle(
        "redis_socket_timeout",
        120.0,
        float,
        "Seconds in which Redis must answer.",
        "a reply that takes longer than a few seconds counts as a broken connection, and is asked for again",
    ),
    _idle(
        "redis_socket_connect_timeout",
        None,
        float,
        "Seconds in which a connection must stand.",
        "broker_connection_timeout holds for every connection",
    ),
    _idle("redis_retry_on_timeout", False, bool, "Try again after a timeout.", "it is always so"),
    _idle("redis_socket_keepalive", False, bool, "TCP keepalive.", "it is always on"),
    # --- security -----------------------------------------------------------------------------------------
    _later("security_certificate", None, str, "Path of the certificate that signs messages."),
    _later("security_cert_store", None, str, "Glob of the certificates that are trusted."),
    _later("security_key", None, str, "Path of the private key."),
    _later("security_key_password", None, bytes, "Password of the private key."),
    _later("security_digest", "sha256", str, "Hash of signatures."),
    # --- result stores to come ----------------------------------------------------------------------------
    _later("cache_backend", None, str, "URL of a memcached result store."),
    _later("cache_backend_options", {}, dict, "Options of its client."),
    _later("database_url", None, str, "SQLAlchemy URL of a result store."),
    _later("database_engine_options", {"pool_pre_ping": True, "pool_recycle": 3600}, dict, "Engine options."),
    _later("database_engine_callback", None, object, "Called with the engine when it is made."),
    _later("database_short_lived_sessions", False, bool, "A session for each use."),
    _later("database_table_schemas", None, dict, "Schemas of its tables."),
    _later("database_table_names", None, dict, "Names of its tables."),
    _later("database_create_tables_at_setup", True, bool, "Make the tables when it starts."),
    _later("cassandra_entry_ttl", None, float, "Seconds a row stays."),
    _later("cassandra_keyspace", None, str, "Keyspace."),
    _later("cassandra_port", None, int, "Port."),
    _later("cassandra_read_consistency", None, str, "Consistency level of reads."),
    _later("cassandra_servers", None, list, "Hosts."),
    _later("cassandra_bundle_path", None, str, "Secure connect bundle of Astra."),
    _later("cassandra_table", None, str, "Table of results."),
    _later("cassandra_write_consistency", None, str, "Consistency level of writes."),
    _later("cassandra_auth_provider", None, str, "Class of cassandra.auth that logs in."),
    _later("cassandra_auth_kwargs", None, object, "Its arguments."),
    _later("cassandra_options", {}, dict, "Options of the cluster."),
    _later("s3_access_key_id", None, str, "Key id of S3."),
    _later("s3_secret_access_key", None, str, "Secret key of S3."),
    _later("s3_bucket", None, str, "Bucket of results."),
    _later("s3_base_path", None, str, "Prefix of object names."),
    _later("s3_endpoint_url", None, str, "Another endpoint than Amazon's."),
    _later("s3_region", None, str, "Region."),
    _later("azureblockblob_container_name", "celery", str, "Container of results."),
    _later("azureblockblob_retry_initial_backoff_sec", 2, int, "First pause before a retry."),
    _later("azureblockblob_retry_increment_base", 2, int, "Growth of the pause."),
    _later("azureblockblob_retry_max_attempts", 3, int, "Tries."),
    _later("azureblockblob_base_path", "", str, "Prefix of blob names."),
    _later("azureblockblob_connection_timeout", 20, float, "Seconds in which a connection must stand."),
    _later("azureblockblob_read_timeout", 120, float, "Seconds in which an answer must come."),
    _later("gcs_bucket", None, str, "Bucket of Google's storage."),
    _later("gcs_project", None, str, "Project."),
    _later("gcs_base_path", "", str, "Prefix of blob names."),
    _later("gcs_ttl", 0.0, float, "Seconds a blob stays; 0 is for ever."),
    _later("couchbase_backend_settings", None, dict, "How to reach Couchbase."),
    _later("arangodb_backend_settings", None, dict, "How to reach ArangoDB."),
    _later("mongodb_backend_settings", None, dict, "How to reach MongoDB."),
    _later("cosmosdbsql_database_name", "celerydb", str, "Database of Cosmos DB."),
    _later("cosmosdbsql_collection_name", "celerycol", str, "Collection."),
    _later("cosmosdbsql_consistency_level", "Session", str, "Consistency level."),
    _later("cosmosdbsql_max_retry_attempts", 9, int, "Tries."),
    _later("cosmosdbsql_max_retry_wait_time", 30, int, "Seconds of all tries together."),
    _later("elasticsearch_retry_on_timeout", None, bool, "Try again after a timeout."),
    _later("elasticsearch_max_retries", None, int, "Tries."),
    _later("elasticsearch_timeout", None, float, "Seconds in which an answer must come."),
    _later("elasticsearch_save_meta_as_text", True, bool, "Store the result as text."),
    # --- read by Celery without a default ------------------------------------------------------------------
    *(
        _unlisted(f"{program}_{name}", None, type, help)
        for program in ("beat", "events", "worker")
        for name, type, help in (
            ("executable", str, "Python of a detached program."),
            ("gid", object, "Group that a detached program runs as."),
            ("logfile", str, "Its log file."),
            ("pidfile", str, "Its pid file."),
            ("uid", object, "User that a detached program runs as."),
            ("umask", object, "Its umask."),
        )
    ),
    _unlisted("cassandra_secure_bundle_path", None, str, "Another name of cassandra_bundle_path."),
    _unlisted("dynamodb_endpoint_url", None, str, "Another endpoint than Amazon's."),
    _unlisted("gcs_threadpool_maxsize", None, int, "Threads that delete blobs."),
    _unlisted("override_backends", {}, dict, "Classes of result stores by scheme."),
    _unlisted("redis_backend_credential_provider", None, object, "Gives user and password of Redis."),
    _unlisted("redis_backend_health_check_interval", None, float, "Seconds between health checks."),
    _unlisted("redis_client_name", None, str, "Name of the connection as Redis lists it."),
    _unlisted("result_backend_thread_safe", False, bool, "One result store for all threads."),
)

#: Every setting by its name.
SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _ROWS}

#: Old names to new.
OLD_NAMES: dict[str, str] = {setting.old: setting.name for setting in _ROWS if setting.old}
