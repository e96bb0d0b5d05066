"""What deploy/ starts exists: commands, options and metrics are those of the program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from celeriac.cli.program import COMMANDS, program
from celeriac.worker import metrics

DEPLOY = Path(__file__).parent.parent / "deploy"


def command_lines() -> Iterator[Any]:
    for path in sorted(DEPLOY.rglob("*.service")):
        (line,) = re.findall(r"^ExecStart=\S+/celeriac (.*)$", path.read_text(), re.MULTILINE)
        yield pytest.param(shlex.split(line), id=path.name)
    (words,) = re.findall(r"^CMD (.*)$", (DEPLOY / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    yield pytest.param(yaml.safe_load(words), id="Dockerfile")
    services = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"]
    for name in ("worker", "beat"):
        yield pytest.param(services[name]["command"], id=f"compose {name}")
    for document in yaml.safe_load_all((DEPLOY / "kubernetes" / "worker.yaml").read_text()):
        (container,) = document["spec"]["template"]["spec"]["containers"]
        yield pytest.param(container["args"], id=f"kubernetes {container['name']}")


@pytest.mark.parametrize("words", list(command_lines()))
def test_what_it_starts_is_understood(words: list[str]) -> None:
    assert words[0] in COMMANDS
    with program.make_context("celeriac", list(words), resilient_parsing=False) as context:
        command = program.get_command(context, words[0])
        assert command is not None
        command.make_context(words[0], words[1:], parent=context).close()


def test_what_it_asks_prometheus_for_is_told() -> None:
    asked = {
        name
        for path in ("prometheus/alerts.yaml", "kubernetes/keda.yaml")
        for name in re.findall(r"\bceleriac_\w+", (DEPLOY / path).read_text())
    }
    told = Path(metrics.__file__).read_text()
    assert asked
    assert not [name for name in asked if f'"{name.removesuffix("_total")}"' not in told]


def test_every_variable_of_the_environment_file_is_an_option() -> None:
    with program.make_context("celeriac", ["worker"], auto_envvar_prefix="CELERY") as context:
        worker = program.get_command(context, "worker")
        assert worker is not None
        known = {"CELERY_APP", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"}
        known |= {f"CELERY_WORKER_{parameter.name.upper()}" for parameter in worker.params if parameter.name}
    names = re.findall(r"^(CELERY_\w+)=", (DEPLOY / "systemd" / "celeriac.env").read_text(), re.MULTILINE)
    assert names
    assert set(names) <= known
