"""Redis behind TLS: a true server with certificates, and each way to get it wrong told with its cure."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from celeriac import Celery, group
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.testing.worker import start_worker
from conftest import StartWorker, demand
from services import RedisServer, free_port


class Guarded(NamedTuple):
    """A server that asks its clients for a certificate, and where theirs and others lie."""

    server: RedisServer
    port: int
    folder: Path

    def url(self, scheme: str = "rediss", host: str = "localhost", **options: str) -> str:
        said = "&".join(f"{name}={value}" for name, value in options.items())
        return f"{scheme}://{host}:{self.port}/0" + (f"?{said}" if said else "")

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def options(self) -> dict[str, str]:
        return {"ssl_ca_certs": self.file("ca"), "ssl_certfile": self.file("client")}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    demand("redis-server", RedisServer.executable() is not None)
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other_ca.pem")
    for name, issuer in (("server", ours), ("client", ours), ("stranger", other)):
        issuer.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    port = free_port()
    files = {"cert": "server", "key": "server", "ca-cert": "ca"}
    words = [word for kind, name in files.items() for word in (f"--tls-{kind}-file", f"{folder}/{name}.pem")]
    with RedisServer("--tls-port", str(port), *words) as server:
        yield Guarded(server, port, folder)


def shop(url: str, **settings: Any) -> Celery:
    app = Celery("shop", broker=url, backend=url, set_as_current=False, **settings)

    @app.task(name="length")
    def length(text: str) -> int:
        return len(text)

    @app.task(name="echo")
    def echo(text: str) -> str:
        return text

    return app


def test_tasks_and_results_pass_through_tls(guarded: Guarded) -> None:
    with shop(guarded.url(**guarded.options())) as app, start_worker(app, concurrency=2, pool="threads"):
        results = group(app.tasks["length"].s("x" * n) for n in range(60)).apply_async()
        assert results.get(timeout=20) == list(range(60))
        large = "x" * 3_000_000
        assert app.tasks["echo"].delay(large).get(timeout=20) == large
        later = app.tasks["length"].apply_async(("later",), countdown=0.2)
        assert later.get(timeout=20) == 5


def test_a_workers_processes_use_tls_as_the_setting_says(
    guarded: Guarded, worker_process: StartWorker, tmp_path: Path
) -> None:
    secure = {**guarded.options(), "ssl_cert_reqs": "CERT_REQUIRED"}
    (tmp_path / "shop.py").write_text(
        "from celeriac import Celery\n"
        f"app = Celery('shop', broker={guarded.url('redis')!r}, backend={guarded.url('redis')!r},\n"
        f"             broker_use_ssl={secure!r}, redis_backend_use_ssl={secure!r})\n"
        "@app.task(name='length')\n"
        "def length(text):\n"
        "    return len(text)\n"
    )
    worker = worker_process("shop", tmp_path, "-c", "2", "--loglevel=info")
    worker.wait_for_line("ready")
    said = {**guarded.options(), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    with shop(guarded.url("redis"), broker_use_ssl=said, redis_backend_use_ssl=said) as app:
        assert app.broker_url.startswith("rediss://")
        assert app.tasks["length"].delay("four").get(timeout=20) == 4
        assert list(app.control.inspect(timeout=5).ping()) == [worker.wait_for_line(r"(\S+@\S+) ready")[1]]


#: A server that refuses may have hung up before its reason is read.
_REFUSED = r"asks? for (a certificate of ours|one) .*ssl_certfile|does not trust who signed .* ssl_certfile"

MISTAKES: dict[str, tuple[dict[str, str], str]] = {
    "a CA that is not known": (
        {},
        "we do not trust who signed the server's certificate: name .* ssl_ca_certs",
    ),
    "another CA": (
        {"ca": "other_ca"},
        "we do not trust who signed the server's certificate: name .* ssl_ca_certs",
    ),
    "no certificate of ours": ({"ca": "ca"}, _REFUSED),
    "a certificate of another CA": (
        {"ca": "ca", "cert": "stranger"},
        _REFUSED,
    ),
    "an address that is not in it": (
        {"ca": "ca", "cert": "client", "host": "127.0.0.1"},
        "the server's certificate is for other addresses: connect by a name that is in it",
    ),
    "plain words to a port of TLS": (
        {"scheme": "redis"},
        "as soon as it was connected: if that port speaks TLS, write rediss://",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_wrong_with_a_certificate_is_told_with_its_cure(name: str, guarded: Guarded) -> None:
    said, expected = MISTAKES[name]
    options = {"ssl_ca_certs": guarded.file(said["ca"])} if "ca" in said else {}
    if "cert" in said:
        options["ssl_certfile"] = guarded.file(said["cert"])
    url = guarded.url(said.get("scheme", "rediss"), said.get("host", "localhost"), **options)
    began = time.monotonic()
    with shop(url, publish_timeout=1) as app, pytest.raises(OperationalError, match=expected):
        app.tasks["length"].delay("x")
    assert time.monotonic() - began < 15


def test_tls_to_a_port_that_speaks_none_is_told(guarded: Guarded) -> None:
    url = f"rediss://localhost:{guarded.server.port}/0"
    with (
        shop(url, publish_timeout=1) as app,
        pytest.raises(OperationalError, match="if that port does not speak TLS, write redis:// instead"),
    ):
        app.tasks["length"].delay("x")


def test_files_of_certificates_that_cannot_be_read_are_named(guarded: Guarded) -> None:
    for options, expected in (
        ({"ssl_ca_certs": "/nowhere/ca.pem"}, "ssl_ca_certs: /nowhere/ca.pem cannot be read: No such file"),
        ({"ssl_certfile": "/nowhere/me.pem"}, "ssl_certfile and ssl_keyfile: /nowhere/me.pem"),
        ({"ssl_ca_certs": __file__}, "no certificate is in it"),
    ):
        with shop(guarded.url(**options)) as app, pytest.raises(ImproperlyConfigured, match=expected):
            app.tasks["length"].delay("x")
