"""What somebody needs to know who shall help you: software, platform and settings, without your secrets."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from celeriac.config import Settings, censored
from celeriac.version import __version__

#: What a trouble may depend on.
_PACKAGES = (
    "msgspec",
    "click",
    "rich",
    "redis",
    "hiredis",
    "gevent",
    "msgpack",
    "pyyaml",
    "pydantic",
    "celery",
)


def facts(name: str, broker_url: str, result_url: str | None, conf: Settings) -> dict[str, Any]:
    """All of it as values."""
    return {
        "software": {"celeriac": __version__, "python": platform.python_version(), **_versions()},
        "platform": f"{platform.platform()} {platform.python_implementation()}",
        "app": name,
        "broker": censored("", broker_url),
        "results": censored("", result_url) if result_url else "off",
        "settings": conf.table(),
    }


def as_text(facts: Mapping[str, Any]) -> str:
    """The same, to be pasted into a message."""
    lines = ["software -> " + " ".join(f"{name}:{number}" for name, number in facts["software"].items())]
    lines += [f"{name:<8} -> {facts[name]}" for name in ("platform", "app", "broker", "results")]
    lines.append("settings ->" if facts["settings"] else "settings -> all as by default")
    lines += [f"  {name} = {value!r}" for name, value in facts["settings"].items()]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    # It imports the parsers of e-mail and zip files: every command would wait for them.
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
