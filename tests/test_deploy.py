"""What deploy/ starts exists: commands, options and metrics are those of the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
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


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd checks its own units")
def test_systemd_understands_its_units(tmp_path: Path) -> None:
    units = []
    for path in sorted(DEPLOY.rglob("*.service")):
        units.append(tmp_path / path.name)
        units[-1].write_text(path.read_text().replace("/srv/proj/.venv/bin/celeriac", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_every_name_that_a_manifest_points_to_is_there() -> None:
    text = (DEPLOY / "kubernetes" / "worker.yaml").read_text()
    deployments = list(yaml.safe_load_all(text))
    scaled = yaml.safe_load((DEPLOY / "kubernetes" / "keda.yaml").read_text())["spec"]["scaleTargetRef"][
        "name"
    ]
    assert scaled in [one["metadata"]["name"] for one in deployments]
    for one in deployments:
        spec = one["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        (container,) = spec["template"]["spec"]["containers"]
        ports = {port["name"] for port in container.get("ports", ())}
        probes = [container[name] for name in container if name.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes} <= ports
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= compose["services"].keys()


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
