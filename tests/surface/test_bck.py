"""BCK: `app.backend`, the results of an app in the words of Celery's backends."""

from __future__ import annotations

import pytest

from celeriac import Celery, chord, states
from celeriac.compat.backends import Backend, DisabledBackend, RedisBackend
from celeriac.exceptions import ImproperlyConfigured, TaskRevokedError, TimeoutError
from celeriac.request import Request


def test_BCK_2_what_is_stored_of_a_task_is_read_in_the_words_of_a_backend(app: Celery) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="fail")
    def fail() -> None:
        raise LookupError("no such thing")

    with app.testing() as stepper:
        good, bad = add.delay(1, 2), fail.delay()
        stepper.run()
        backend = app.backend
        assert backend is add.backend is good.backend
        meta = backend.get_task_meta(good.id)
        assert (meta["status"], meta["result"], meta["task_id"]) == ("SUCCESS", 3, good.id)
        assert backend.get_state(good.id) == backend.get_status(good.id) == "SUCCESS"
        assert isinstance(backend.get_result(bad.id), LookupError)
        assert "no such thing" in backend.get_traceback(bad.id)
        assert backend.get_children(good.id) == []
        assert backend.get_task_meta("nobody") == {"status": "PENDING", "result": None}
        assert backend.task_result_exists(good.id)
        assert not backend.task_result_exists("nobody")
        backend.forget(good.id)
        assert backend.get_state(good.id) == "PENDING"
    with pytest.raises(ValueError, match="task_id must not be empty"):
        backend.get_task_meta("")


def test_BCK_2_what_was_done_elsewhere_is_stored_and_told_to_who_waits(app: Celery) -> None:
    backend = app.backend
    backend.mark_as_started("one", pid=3)
    assert app.AsyncResult("one").info == {"pid": 3}
    assert backend.store_result("one", {"rows": 3}, "PROGRESS") == {"rows": 3}
    backend.mark_as_done("one", 7)
    assert app.AsyncResult("one").get(timeout=5) == 7
    backend.mark_as_failure("two", KeyError("k"), traceback="where")
    with pytest.raises(KeyError):
        app.AsyncResult("two").get(timeout=5)
    assert app.AsyncResult("two").traceback == "where"
    backend.mark_as_revoked("three", "unwanted")
    assert isinstance(backend.get_result("three"), TaskRevokedError)
    assert backend.mark_as_retry("four", OSError("away"))["exc_type"] == "OSError"
    assert dict(backend.get_many(["one", "three"], timeout=5)).keys() == {"one", "three"}
    assert backend.wait_for_pending(app.AsyncResult("one")) == 7
    with pytest.raises(TimeoutError):
        backend.wait_for("four", timeout=0.01)
    try:
        raise OSError("gone")
    except OSError:
        backend.fail_from_current_stack("five")
    assert 'raise OSError("gone")' in backend.get_traceback("five")


def test_BCK_2_an_end_is_not_replaced_by_a_state_on_the_way_nor_success_by_another(app: Celery) -> None:
    backend = app.backend
    backend.mark_as_failure("a", ValueError("no"))
    backend.mark_as_started("a")
    assert backend.get_state("a") == states.FAILURE
    backend.mark_as_done("a", 1)
    backend.mark_as_failure("a", ValueError("late"))
    assert backend.get_result("a") == 1


def test_BCK_2_a_failure_with_its_request_calls_the_errbacks(app: Celery) -> None:
    heard: list[str] = []

    @app.task(name="note")
    def note(request: Request, exc: Exception, traceback: object) -> None:
        heard.append(f"{request.id} {exc!r}")

    request = Request()
    request.id, request.task, request.errbacks = "x", "import", [note.s()]
    app.backend.mark_as_failure("x", ValueError("bad row"), request=request)
    assert heard == ["x ValueError('bad row')"]


def test_BCK_2_members_of_a_chord_are_not_counted_from_outside(app: Celery) -> None:
    request = Request()
    request.chord = {"task": "sum"}
    with pytest.raises(NotImplementedError, match="Let the task return or raise"):
        app.backend.mark_as_done("x", 1, request)
    with pytest.raises(NotImplementedError, match=r"chord\(header\)\(body\)"):
        app.backend.apply_chord((), chord([]))


def test_BCK_2_groups_are_saved_restored_and_deleted(app: Celery) -> None:
    result = app.GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")])
    assert app.backend.save_group("g", result) is result
    assert app.backend.restore_group("g") == app.backend.get_group_meta("g")["result"] == result
    app.backend.delete_group("g")
    assert app.backend.restore_group("g") is None


def test_BCK_2_values_are_encoded_as_the_settings_say(app: Celery) -> None:
    backend = app.backend
    assert backend.decode(backend.encode({"a": 1})) == {"a": 1}
    assert backend.encode_result(app.AsyncResult("a"), "SUCCESS") == (("a", None), None)
    assert backend.prepare_expires(None, int) == backend.expires == 86400
    assert backend.accept == {"application/json"}


def test_BCK_1_the_backend_says_where_it_is_without_the_password() -> None:
    app = Celery("proj", backend="redis://:secret@localhost:1/2", set_as_current=False)
    assert isinstance(app.backend, RedisBackend)
    assert app.backend.as_uri() == "redis://:**@localhost:1/2"
    assert app.backend.as_uri(include_password=True) == app.backend.url
    assert app.backend.get_key_for_task("a") == b"celery-task-meta-a"
    tls = Celery(backend="rediss://localhost/0?ssl_cert_reqs=CERT_NONE", set_as_current=False)
    assert tls.backend.connparams["ssl_cert_reqs"] == "none"


def test_BCK_2_the_client_of_a_backend_on_redis_is_redis_pys(redis_db: str) -> None:
    with Celery("proj", backend=redis_db, set_as_current=False) as app:
        assert app.backend.client.ping()
        app.backend.mark_as_done("a", 1)
        assert b'"SUCCESS"' in app.backend.get(app.backend.get_key_for_task("a"))
        app.backend.set("mine", "x", expires=60)
        assert app.backend.mget(["mine", "none"]) == [b"x", None]
        app.backend.client.connection_pool.disconnect()


def test_BCK_2_another_store_has_no_client_and_says_so(app: Celery) -> None:
    assert type(app.backend) is Backend
    assert not hasattr(app.backend, "client")
    with pytest.raises(AttributeError, match=r"memory://.* no client to hand out; app.results"):
        _ = app.backend.client


def test_BCK_2_without_results_nothing_is_stored_and_who_asks_hears_what_to_set() -> None:
    app = Celery("proj", broker="memory://", set_as_current=False)
    assert isinstance(app.backend, DisabledBackend)
    assert app.backend.as_uri() == "disabled://"
    app.backend.store_result("a", 1, "SUCCESS")
    with pytest.raises(ImproperlyConfigured, match="Set result_backend"):
        app.backend.get_state("a")
