"""Settings: names, values, who wins."""

from __future__ import annotations

import re
import types
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import celeriac
from celeriac.config import SETTINGS, Settings, coerce, read_source
from celeriac.exceptions import ImproperlyConfigured


@pytest.fixture
def settings() -> Settings:
    return Settings(environ={})


def test_all_settings_of_celery_and_ours_are_known() -> None:
    assert sum(1 for setting in SETTINGS.values() if setting.old) == 207
    assert {"task_max_deliveries", "worker_lease", "publish_timeout"} <= SETTINGS.keys()


def test_every_setting_is_explained() -> None:
    for setting in SETTINGS.values():
        assert setting.help.endswith("."), setting.name
        assert bool(setting.reason) == (setting.status == "no effect"), setting.name


def test_every_default_passes_its_own_check(settings: Settings) -> None:
    for name, setting in SETTINGS.items():
        settings[name] = setting.default
        assert settings[name] == setting.default, name


def test_a_setting_reads_and_writes_by_attribute_item_and_update(settings: Settings) -> None:
    settings.task_default_queue = "a"
    assert settings["task_default_queue"] == "a"
    settings["task_default_queue"] = "b"
    assert settings.task_default_queue == "b"
    settings.update({"task_default_queue": "c"}, worker_concurrency=3)
    assert (settings.task_default_queue, settings.worker_concurrency) == ("c", 3)
    assert settings.get("task_default_queue") == "c"
    assert settings.get("nothing", 5) == 5
    assert "task_default_queue" in settings
    assert "nothing" not in settings
    assert dict(settings)["worker_concurrency"] == 3
    assert len(settings) == len(list(settings))


def test_a_near_miss_is_an_error_that_names_the_setting(settings: Settings) -> None:
    for wrong, right in [
        ("task_default_queu", "task_default_queue"),
        ("taks_serializer", "task_serializer"),
        ("worker_concurency", "worker_concurrency"),
        ("result_expire", "result_expires"),
        ("task_queue", "task_queues"),
        ("broker_ulr", "broker_url"),
        ("CELERYD_CONCURENCY", "CELERYD_CONCURRENCY"),
    ]:
        with pytest.raises(ImproperlyConfigured, match=f"did you mean '{right}'"):
            settings[wrong] = None
        assert wrong not in settings


def test_every_known_name_with_a_swapped_pair_of_letters_is_found(settings: Settings) -> None:
    for name in SETTINGS:
        wrong = name[:2] + name[3] + name[2] + name[4:]
        if wrong != name:
            with pytest.raises(ImproperlyConfigured, match="did you mean"):
                settings[wrong] = None


def test_a_name_of_the_users_own_is_kept(settings: Settings) -> None:
    settings.shop_currency = "EUR"
    settings.update(MAIL_HOST="smtp", redbeat_redis_url="redis://x")
    assert (settings.shop_currency, settings["MAIL_HOST"]) == ("EUR", "smtp")
    del settings["shop_currency"]
    assert "shop_currency" not in settings


def test_a_name_that_the_object_needs_itself_is_refused(settings: Settings) -> None:
    for name in ("update", "version", "get"):
        with pytest.raises(ImproperlyConfigured, match="meaning of its own"):
            settings[name] = 1


def test_reading_an_unknown_name_says_what_was_meant(settings: Settings) -> None:
    with pytest.raises(AttributeError, match="did you mean 'task_serializer'"):
        _ = settings.task_serialiser
    with pytest.raises(KeyError):
        _ = settings["nothing"]
    assert not hasattr(settings, "__wrapped__")
    assert getattr(settings, "nothing", None) is None


def test_old_names_are_the_same_settings(settings: Settings) -> None:
    settings.update(
        BROKER_URL="redis://a", CELERYD_CONCURRENCY=2, CELERY_TASK_RESULT_EXPIRES=60, CELERY_ACKS_LATE=False
    )
    assert settings.broker_url == "redis://a"
    assert settings.worker_concurrency == 2
    assert settings.result_expires == 60
    assert settings.task_acks_late is False
    assert settings.CELERYD_CONCURRENCY == settings["CELERYD_CONCURRENCY"] == 2
    assert "BROKER_URL" in settings


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://env")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "")
    settings = Settings({"broker_url": "redis://code", "result_backend": "redis://results"})
    settings.broker_url = "redis://later"
    assert settings.broker_url == "redis://env"
    assert settings.explicit["broker_url"] == "redis://env"
    assert settings.result_backend == "redis://results"
    del settings["broker_url"]
    assert settings.broker_url == "redis://env"


def test_every_variable_of_the_environment_counts() -> None:
    settings = Settings(
        environ={
            "CELERY_BROKER_URL": "redis://b",
            "CELERY_BROKER_READ_URL": "redis://r",
            "CELERY_BROKER_WRITE_URL": "redis://w",
            "CELERY_RESULT_BACKEND": "redis://x",
        }
    )
    assert settings.broker_read_url == "redis://r"
    assert settings.broker_write_url == "redis://w"
    assert settings.result_backend == "redis://x"


def test_what_is_set_directly_wins_over_a_source_and_that_over_added_defaults(settings: Settings) -> None:
    settings.task_time_limit = 1
    settings.load({"task_time_limit": 2, "task_soft_time_limit": 2})
    settings.add_defaults({"task_time_limit": 3, "task_soft_time_limit": 3, "worker_lease": 3})
    assert settings.task_time_limit == 1
    assert settings.task_soft_time_limit == 2
    assert settings.worker_lease == 3
    assert settings.explicit == {"task_time_limit": 1, "task_soft_time_limit": 2}
    settings.task_soft_time_limit = 4
    assert settings.task_soft_time_limit == 4


def test_setdefault_leaves_what_somebody_set(settings: Settings) -> None:
    assert settings.setdefault("worker_concurrency", 4) == 4
    assert settings.setdefault("worker_concurrency", 5) == 4
    assert settings.setdefault("my_own", 1) == 1


def test_deleting_goes_back_to_the_default(settings: Settings) -> None:
    settings.task_default_queue = "a"
    del settings.task_default_queue
    assert settings.task_default_queue == "celery"
    assert settings.explicit == {}
    settings.update(task_default_queue="a", my_own=1)
    settings.clear()
    assert settings.explicit == {}
    with pytest.raises(KeyError):
        del settings["nothing"]


def test_when_one_value_is_wrong_none_is_set(settings: Settings) -> None:
    with pytest.raises(ImproperlyConfigured):
        settings.update(task_default_queue="a", worker_concurrency="abc")
    assert settings.task_default_queue == "celery"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("worker_concurrency", "abc", "a whole number or 'auto', not 'abc'"),
        ("worker_concurrency", 2.5, "a whole number"),
        ("worker_concurrency", True, "a whole number"),
        ("worker_concurrency", -1, "at least 0"),
        ("task_max_deliveries", 0, "at least 1"),
        ("result_expires", -1, "at least 0"),
        ("result_expires", timedelta(seconds=-1), "at least 0"),
        ("task_time_limit", float("nan"), "at least 0"),
        ("task_time_limit", [3], "a number"),
        ("task_always_eager", "maybe", "True or False"),
        ("task_always_eager", 7, "True or False"),
        ("task_serializer", 7, "a text"),
        ("imports", 7, "a list"),
        ("accept_content", {"json": 1}, "a list"),
        ("broker_transport_options", ["a"], "a dict"),
        ("security_key_password", 5, "bytes"),
    ],
)
def test_a_value_of_a_wrong_type_is_one_clear_error(
    settings: Settings, name: str, value: Any, words: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=words) as caught:
        settings[name] = value
    assert str(caught.value).startswith(name)


def test_a_wrong_value_that_is_secret_is_not_shown(settings: Settings) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        settings.broker_transport_options = "redis://user:hunter2@host"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("worker_concurrency", "4", 4),
        ("worker_concurrency", "auto", "auto"),
        ("worker_concurrency", 4.0, 4),
        ("task_time_limit", "1.5", 1.5),
        ("task_time_limit", timedelta(minutes=1), timedelta(minutes=1)),
        ("task_always_eager", "False", False),
        ("task_always_eager", 1, True),
        ("broker_connection_max_retries", None, None),
        ("accept_content", "json", ["json"]),
        ("imports", ("a", "b"), ("a", "b")),
        ("worker_state_db", Path("state.db"), "state.db"),
        ("security_key_password", "x", b"x"),
        ("task_default_priority", -3, -3),
    ],
)
def test_values_that_are_clearly_meant_are_taken(
    settings: Settings, name: str, value: Any, kept: Any
) -> None:
    settings[name] = value
    assert settings[name] == kept


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("worker_concurrency", "8", 8),
        ("worker_concurrency", "none", None),
        ("task_time_limit", "30", 30.0),
        ("task_always_eager", "yes", True),
        ("imports", "a, b", ["a", "b"]),
        ("accept_content", '["json", "pickle"]', ["json", "pickle"]),
        ("broker_transport_options", '{"global_keyprefix": "x"}', {"global_keyprefix": "x"}),
        ("task_routes", '{"a.*": "q"}', {"a.*": "q"}),
        ("broker_url", "redis://x", "redis://x"),
        ("task_default_queue", "none", "none"),
        ("CELERYD_CONCURRENCY", "8", 8),
        ("my_own", "text", "text"),
    ],
)
def test_a_text_of_the_command_line_becomes_the_settings_type(name: str, text: str, value: Any) -> None:
    assert coerce(name, text) == value


def test_a_text_that_cannot_be_the_type_is_an_error() -> None:
    for name, text in [
        ("worker_concurrency", "many"),
        ("broker_transport_options", "{"),
        ("worker_concurency", "8"),
    ]:
        with pytest.raises(ImproperlyConfigured):
            coerce(name, text)


def test_spans_of_time_are_told_in_seconds(settings: Settings) -> None:
    assert settings.seconds("result_expires") == 86400
    settings.result_expires = 60
    assert settings.seconds("result_expires") == 60
    settings.result_expires = None
    assert settings.seconds("result_expires") is None


def test_defaults_that_are_filled_in_place_belong_to_one_app(settings: Settings) -> None:
    settings.beat_schedule["x"] = {"task": "t"}
    assert Settings(environ={}).beat_schedule == {}
    twin = settings.copy()
    twin.beat_schedule["y"] = {}
    assert set(settings.beat_schedule) == {"x"}


def test_every_change_shows_in_the_version(settings: Settings) -> None:
    seen = {settings.version}
    settings.task_default_queue = "a"
    seen.add(settings.version)
    settings.update(worker_concurrency=2)
    seen.add(settings.version)
    del settings["worker_concurrency"]
    seen.add(settings.version)
    assert len(seen) == 4


def test_what_people_see_holds_no_secret(settings: Settings) -> None:
    settings.update(
        broker_url="redis://user:p@ss:word@host:1/0;redis://:x@other",
        result_backend="redis://host/1",
        redis_password="hunter2",
        s3_secret_access_key="hunter2",
        task_default_routing_key="plain",
        redis_backend_use_ssl={"ssl_password": "hunter2", "ssl_cert_reqs": "none"},
    )
    text = settings.humanize()
    assert "hunter2" not in text
    assert "p@ss" not in text
    assert "broker_url: 'redis://user:********@host:1/0;redis://:********@other'" in text
    assert "result_backend: 'redis://host/1'" in text
    assert "plain" in text
    assert "hunter2" in settings.humanize(censored=False)
    assert len(settings.table(with_defaults=True)) == len(settings)


def test_a_module_is_read_without_its_own_tools() -> None:
    module = types.ModuleType("celeryconfig")
    vars(module).update(
        broker_url="redis://a", my_own=1, Path=Path, helper=len, types=types, _private=1, task_routes=len
    )
    assert read_source(module) == {"broker_url": "redis://a", "my_own": 1, "task_routes": len}


def test_a_class_and_a_mapping_are_sources_too() -> None:
    class Config:
        CELERY_TASK_SERIALIZER = "json"
        CELERYD_CONCURRENCY = 3

    assert read_source(Config) == {"CELERY_TASK_SERIALIZER": "json", "CELERYD_CONCURRENCY": 3}
    assert read_source({"worker_lease": 5}) == {"worker_lease": 5}


def test_a_namespace_picks_its_names() -> None:
    source = {
        "CELERY_BROKER_URL": "redis://a",
        "CELERY_MY_OWN": 1,
        "CELERY_TASK_RESULT_EXPIRES": 60,
        "DEBUG": True,
    }
    expected = {"broker_url": "redis://a", "my_own": 1, "result_expires": 60}
    assert read_source(source, namespace="CELERY") == expected
    assert read_source(source, namespace="CELERY_") == expected


def test_beside_a_namespace_the_bare_names_of_celery_count_where_it_is_silent() -> None:
    source = {
        "BROKER_URL": "redis://old",
        "CELERYBEAT_SCHEDULE": {"a": {}},
        "CELERYD_CONCURRENCY": 3,
        "result_backend": "redis://new",
        "CELERY_TASK_TIME_LIMIT": 5,
        "CELERYD_TASK_TIME_LIMIT": 6,
        "timezone": ModuleType("timezone"),
        "middleware": ["django.middleware"],
        "MIDDLEWARE": ["django.middleware"],
    }
    assert read_source(source, namespace="CELERY") == {
        "broker_url": "redis://old",
        "beat_schedule": {"a": {}},
        "worker_concurrency": 3,
        "result_backend": "redis://new",
        "task_time_limit": 5,
    }


def test_what_is_said_to_be_honoured_is_read_somewhere() -> None:
    source = Path(celeriac.__file__).parent
    read = "".join(
        path.read_text(encoding="utf-8")
        for path in source.rglob("*.py")
        if path.name != "settings.py" and "testing" not in path.parts
    )
    words = set(re.findall(r"\w+", read))
    unread = {
        name for name, setting in SETTINGS.items() if setting.status == "honoured" and name not in words
    }
    assert unread == set()
