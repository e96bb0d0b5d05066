"""APP-22, ROU-8: `app.amqp`, queues, routes and messages in Celery's words; APP-17: connections and pools."""

from __future__ import annotations

import pytest

from celeriac import Celery
from celeriac.compat.kombu import Connection
from celeriac.compat.kombu_utils import safequote
from celeriac.entities import Exchange, Queue
from celeriac.exceptions import OperationalError, QueueNotFound
from celeriac.routing import Router


def test_APP_22_the_router_tells_the_queue_of_a_call_as_an_object(app: Celery) -> None:
    app.conf.task_routes = {"reports.*": {"queue": "reports", "priority": 3}, "mail": "post"}
    route = app.amqp.router.route
    assert route({}, "reports.weekly") == {"queue": Queue("reports", "reports", "reports"), "priority": 3}
    assert route({}, "mail", args=(1,), kwargs={})["queue"].name == "post"
    assert route({"queue": "mine", "countdown": 3}, "mail") == {
        "queue": Queue("mine", "mine", "mine"),
        "countdown": 3,
    }
    assert route({}, "other")["queue"] == app.amqp.default_queue
    assert app.amqp.router.lookup_route("mail") == {"queue": "post"}
    assert app.amqp.router.lookup_route("other") is None
    assert app.amqp.Router().expand_destination("q")["queue"].exchange.name == "q"
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound):
        route({"queue": "zap"}, "t")


def test_ROU_8_the_queues_of_an_app_are_found_by_their_names(app: Celery) -> None:
    mine = Queue("m", Exchange("media", type="topic"), routing_key="m.#")
    app.conf.task_queues = [mine, Queue("celery")]
    queues = app.amqp.queues
    assert list(queues) == ["m", "celery"]
    assert queues["m"] is mine
    assert queues["celery"].exchange.name == "celery"
    assert "new" not in queues
    assert queues.get("new") is None
    assert queues["new"].routing_key == "new"
    assert list(queues.consume_from) == ["m", "celery"]
    assert queues.format(indent=2).splitlines()[1] == "  .> m                exchange=media(topic) key=m.#"
    app.conf.task_create_missing_queues = False
    with pytest.raises(KeyError):
        queues["zap"]


def test_ROU_8_what_is_added_can_be_sent_to_and_what_is_selected_is_served(app: Celery) -> None:
    queues = app.amqp.queues
    queues.add("audit", exchange=Exchange("books", type="topic"), routing_key="book.*")
    assert app.router.route("t", options={"exchange": "books", "routing_key": "book.new"}).queue == "audit"
    assert list(queues.consume_from) == ["celery"]
    queues.select_add("tenant")
    queues.select_add(Queue("vip"))
    queues.deselect("celery")
    assert app.serving == list(queues.consume_from) == ["tenant", "vip"]
    app.select_queues(["audit"])
    assert Router(app.conf).served(app.serving, (), "node").queues == ["audit"]


def test_APP_22_a_message_is_made_and_sent_in_two_steps(app: Celery) -> None:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    with app.testing() as stepper, app.producer_pool.acquire(block=True) as producer:
        message = app.amqp.create_task_message(
            "id", "add", (1,), {"y": 2}, countdown=60, time_limit=9, create_sent_event=True
        )
        assert message.headers["timelimit"] == [9, None]
        assert message.properties == {"correlation_id": "id", "reply_to": ""}
        assert message.body[:2] == ((1,), {"y": 2})
        assert message.sent_event["uuid"] == "id"
        message.headers["tenant"] = "t1"
        app.amqp.send_task_message(producer, "add", message, queue="far")
        assert app.broker.depth(["far"])["far"].delayed == 1
        app.amqp.send_task_message(producer, "add", app.amqp.as_task_v1("one", "add", (4,)))
        stepper.run()
        assert app.AsyncResult("one").get() == 4
    with pytest.raises(TypeError, match="must be a list or tuple"):
        app.amqp.as_task_v2("id", "add", "text")


def test_APP_17_connections_and_producers_are_handed_out_and_hold_nothing(app: Celery) -> None:
    @app.task(name="note")
    def note() -> str:
        return "noted"

    with app.testing() as stepper:
        with app.pool.acquire(block=True) as connection, app.producer_or_acquire() as producer:
            assert connection.connected
            result = note.apply_async(producer=producer, connection=connection)
            waiting = app.amqp.queues["celery"].bind(connection.default_channel)
            assert waiting.queue_declare(passive=True).message_count == 1
            with app.connection_or_acquire(connection) as same:
                assert same is connection
            with pytest.raises(NotImplementedError, match="only tasks are sent here"):
                producer.publish({"a": 1})
        stepper.run()
        assert result.get() == "noted"
    with pytest.raises(NotImplementedError, match="claimed by a worker alone"):
        app.amqp.TaskConsumer(None)
    with pytest.raises(RuntimeError, match="has no channel"):
        app.amqp.queues["celery"].purge()


def test_APP_17_a_broker_is_asked_by_its_url(app: Celery) -> None:
    with Connection(app.broker_url) as connection:
        assert connection.ensure_connection(max_retries=1).connected
    with pytest.raises(OperationalError), Connection("redis://127.0.0.1:1/0") as connection:
        connection.connect()
    assert safequote("p@ss/word") == "p%40ss%2Fword"
