"""The settings of an app: who set what, checked when it is set, so that reading is a plain look-up.

    app.conf.task_default_queue = "mail"        # or app.conf["task_default_queue"], or app.conf.update(...)
    app.conf.task_default_queu = "mail"         # ImproperlyConfigured: did you mean 'task_default_queue'?

A name that is nowhere near a known one is the user's own and kept as it is.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from copy import copy
from datetime import timedelta
from enum import IntEnum
from inspect import isclass, ismodule, isroutine
from types import FrameType
from typing import Any

from celeriac.clock import zone_named
from celeriac.exceptions import ImproperlyConfigured
from celeriac.nearest import nearest
from celeriac.settings import OLD_NAMES, SETTINGS, Setting

__all__ = ["OLD_NAMES", "SETTINGS", "Setting", "Settings", "censored", "coerce", "read_source"]

#: Variables of the environment that win over everything else.
ENVIRONMENT = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_BROKER_READ_URL": "broker_read_url",
    "CELERY_BROKER_WRITE_URL": "broker_write_url",
    "CELERY_RESULT_BACKEND": "result_backend",
}


class _Rank(IntEnum):
    """Who set a value; a lower one never replaces a higher one."""

    DEFAULTS = 1
    SOURCE = 2
    DIRECT = 3
    PINNED = 4


#: Of each setting that was set: its value, who set it, and where.
Saved = Mapping[str, tuple[Any, int, str]]


class Settings(MutableMapping[str, Any]):
    """All settings by attribute and by item. They lie in the instance's own dict: reading costs nothing."""

    __slots__ = ("__dict__", "_origins", "_ranks", "_told", "version")

    #: Grows with every change, for those who keep what they worked out of the settings.
    version: int
    _ranks: dict[str, _Rank]
    #: Who set it: a line of the user's code, a module of settings, the environment.
    _origins: dict[str, str]
    #: Who wants to hear of every change at once.
    _told: Callable[[], None]

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        object.__setattr__(self, "_told", told)
        object.__setattr__(self, "_ranks", {})
        object.__setattr__(self, "_origins", {})
        object.__setattr__(self, "version", 0)
        vars(self).update((name, _default(setting)) for name, setting in SETTINGS.items())
        surroundings = os.environ if environ is None else environ
        for variable, name in ENVIRONMENT.items():
            if surroundings.get(variable):
                self.pin(name, surroundings[variable], f"{variable} in the environment")
        self.update(values or {})

    # --- setting --------------------------------------------------------------------------------------

    def update(self, values: Any = (), /, **named: Any) -> None:
        """Set many; if one of them is wrong, none is set."""
        self._put({**dict(values), **named}, _Rank.DIRECT)

    def load(self, values: Mapping[str, Any], origin: str | None = None) -> None:
        """Set what a configuration module says: under what was or will be set directly."""
        self._put(values, _Rank.SOURCE, origin)

    def add_defaults(self, values: Mapping[str, Any]) -> None:
        """Set other defaults: under everything that anybody sets."""
        self._put(values, _Rank.DEFAULTS)

    def pin(self, name: str, value: Any, origin: str | None = None) -> None:
        """Set it for good, as the environment and the command line do."""
        self._put({name: value}, _Rank.PINNED, origin)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Set it unless somebody did; returns what holds now."""
        name = modern_name(key)
        if name not in self._ranks:
            self[name] = default
        return vars(self)[name]

    def _put(self, values: Mapping[str, Any], rank: _Rank, origin: str | None = None) -> None:
        if not values:
            return
        checked = {}
        for given, value in values.items():
            name = known_name(given)
            checked[name] = _checked(name, value)
        for name, value in checked.items():
            if rank >= self._ranks.get(name, rank):
                vars(self)[name] = value
                self._ranks[name] = rank
                self._origins[name] = origin or _line_outside()
        self._changed()

    def _changed(self) -> None:
        object.__setattr__(self, "version", self.version + 1)
        self._told()

    # --- asking ---------------------------------------------------------------------------------------

    @property
    def explicit(self) -> dict[str, Any]:
        """What somebody set, in place of the defaults."""
        return {name: vars(self)[name] for name, rank in self._ranks.items() if rank > _Rank.DEFAULTS}

    def origin(self, name: str) -> str | None:
        """Where it was set, for a person to look; None if it is the default."""
        return self._origins.get(modern_name(name))

    def seconds(self, name: str) -> float | None:
        """A span of time as seconds, whether it was given as a number or a timedelta; None stays None."""
        value = self[name]
        return value.total_seconds() if isinstance(value, timedelta) else value

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings to show to people: passwords and keys are hidden unless you insist."""
        shown = dict(self) if with_defaults else self.explicit
        return {name: _censored(name, value) if censored else value for name, value in shown.items()}

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The same, one `name: value` a line."""
        shown = self.table(with_defaults, censored)
        return "\n".join(f"{name}: {value!r}" for name, value in sorted(shown.items()))

    def first(self, *names: str) -> Any:
        """The first of these settings that is there and not None."""
        return next((value for name in names if (value := self.get(name)) is not None), None)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """A setting by the two parts of its name, as packages on top of Celery ask for it."""
        return self[f"{namespace}_{name}"]

    def copy(self) -> Settings:
        """Settings of the same values that change on their own."""
        twin = Settings(environ={})
        vars(twin).update({name: _own(value) for name, value in vars(self).items()})
        twin._ranks.update(self._ranks)
        twin._origins.update(self._origins)
        return twin

    def saved(self) -> Saved:
        """All that was set, to be set again in another app or process."""
        return {
            name: (_own(vars(self)[name]), int(rank), self._origins[name])
            for name, rank in self._ranks.items()
        }

    def restore(self, saved: Saved) -> None:
        """Set what `saved` gave, by those who set it."""
        for name, (value, rank, origin) in saved.items():
            self._put({name: value}, _Rank(rank), origin)

    # --- a mapping and an object ----------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        values = vars(self)
        return values[key] if key in values else values[modern_name(key)]

    def __setitem__(self, key: str, value: Any) -> None:
        self._put({key: value}, _Rank.DIRECT)

    def __delitem__(self, key: str) -> None:
        """Back to the default; what was pinned stays."""
        name = modern_name(key)
        if name not in vars(self):
            raise KeyError(key)
        if self._ranks.get(name) is _Rank.PINNED:
            return
        self._ranks.pop(name, None)
        self._origins.pop(name, None)
        if name in SETTINGS:
            vars(self)[name] = _default(SETTINGS[name])
        else:
            del vars(self)[name]
        self._changed()

    def clear(self) -> None:
        """Everything back to the defaults; what was pinned stays."""
        for name in list(self._ranks):
            del self[name]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in vars(self) or modern_name(key) in vars(self))

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))

    # The one __getattr__ of the house: it is asked only for names that are not there, to say which is meant.
    def __getattr__(self, name: str) -> Any:
        if name in OLD_NAMES:
            return vars(self)[OLD_NAMES[name]]
        near = None if name.startswith("__") else nearest_name(name)
        raise AttributeError(f"there is no setting {name!r}" + (f"; did you mean {near!r}?" if near else ""))

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return f"<Settings: {len(self.explicit)} set, {len(self)} in all>"


# --- names ------------------------------------------------------------------------------------------------


def modern_name(name: str) -> str:
    """The present name for an upper-case one of Celery 3; every other name is returned as it is."""
    return OLD_NAMES.get(name, name)


def known_name(given: str) -> str:
    """The name under which a value is kept. ImproperlyConfigured for a near miss of a known name."""
    name = modern_name(given)
    if name in SETTINGS:
        return name
    if not isinstance(name, str):
        raise ImproperlyConfigured(f"the name of a setting is a text, not {name!r}")
    if hasattr(Settings, name):
        raise ImproperlyConfigured(f"{name!r} cannot be a setting: conf.{name} has a meaning of its own")
    near = nearest_name(name)
    if near is not None:
        raise ImproperlyConfigured(f"unknown setting {name!r}: did you mean {near!r}?")
    return name


def nearest_name(name: str) -> str | None:
    """The known name that this one is a misspelling of, if it is one."""
    return nearest(name, OLD_NAMES if name.isupper() else SETTINGS)


def read_source(source: object, namespace: str | None = None) -> dict[str, Any]:
    """The settings that a module, object or mapping holds.

    With a namespace (`CELERY`) those are all names `CELERY_...`, in either spelling, and where these are
    silent the bare names of Celery's settings (`BROKER_URL`, `CELERYBEAT_SCHEDULE`), which it reads too;
    without, everything but the private names, and the modules, classes and functions that a module has for
    its own use.
    """
    items = (
        dict(source) if isinstance(source, Mapping) else {name: getattr(source, name) for name in dir(source)}
    )
    if namespace:
        prefix = namespace.rstrip("_") + "_"
        named = {name: value for name, value in items.items() if isinstance(name, str)}
        return {
            **{OLD_NAMES[name]: value for name, value in named.items() if name in OLD_NAMES},
            **{name: value for name, value in named.items() if _is_celerys(name) and not _is_code(value)},
            **{_in_namespace(name, prefix): named[name] for name in named if name.startswith(prefix)},
        }
    _refuse_mixture(items)
    return {
        name: value
        for name, value in items.items()
        if modern_name(name) in SETTINGS or (not name.startswith("_") and not _is_code(value))
        # Who gives a setting by both of its names means the new one.
        if OLD_NAMES.get(name) not in items
    }


def _refuse_mixture(items: Mapping[str, Any]) -> None:
    """Who writes half of the names in the old way has left something half done, and which half is meant?"""
    old = [name for name in items if name in OLD_NAMES and OLD_NAMES[name] not in items]
    if not old or not any(name in SETTINGS for name in items):
        return
    width = max(map(len, old))
    renames = "\n".join(f"  {name:<{width}} -> {OLD_NAMES[name]}" for name in sorted(old))
    raise ImproperlyConfigured(
        f"old and new names of settings are mixed in one source. Rename the old ones:\n{renames}"
    )


def _line_outside() -> str:
    """The line of code outside of this library that led here, as `file.py:7`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != "celeriac" and not module.startswith(("celeriac.", "importlib", "_frozen")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "celeriac itself"


def _is_celerys(name: str) -> bool:
    """A setting that Celery has too, and not one of our own."""
    return name in SETTINGS and bool(SETTINGS[name].old)


def _in_namespace(name: str, prefix: str) -> str:
    short = name.removeprefix(prefix).lower()
    if short not in SETTINGS and name in OLD_NAMES:
        return OLD_NAMES[name]
    return short


def _is_code(value: object) -> bool:
    return ismodule(value) or isclass(value) or isroutine(value)


# --- values -----------------------------------------------------------------------------------------------

_YES = ("true", "yes", "on", "1")
_NO = ("false", "no", "off", "0")
_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bytes: "bytes or a text",
    list: "a list",
    dict: "a dict",
}


def coerce(name: str, text: str) -> Any:
    """The value that a text on the command line (`task_time_limit=30`) means for this setting."""
    name = known_name(name)
    setting = SETTINGS.get(name)
    kind = object if setting is None else setting.type
    if kind is not str and text.strip().lower() in ("none", "null"):
        return None
    if kind is list and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind in (list, dict) or (kind is object and text[:1] in ("[", "{")):
        try:
            return _checked(name, json.loads(text))
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {text!r} is not JSON: {error}") from None
    return _checked(name, text)


def _checked(name: str, value: Any) -> Any:
    """The value as it is kept: a number given as text becomes one, nonsense is an error."""
    setting = SETTINGS.get(name)
    if setting is None or value is None or setting.type is object:
        return value
    if name == "timezone":
        return _as_zone(value)
    if isinstance(value, str) and value in setting.words:
        return value
    try:
        kept = _CHECKS[setting.type](value)
    except (TypeError, ValueError, OverflowError):
        expected = " or ".join([_KINDS[setting.type], *map(repr, setting.words)])
        shown = repr(_censored(name, value))
        raise ImproperlyConfigured(f"{name} must be {expected}, not {shown}: {setting.help}") from None
    if setting.least is not None and setting.type in (int, float):
        number = kept.total_seconds() if isinstance(kept, timedelta) else kept
        if not number >= setting.least:
            raise ImproperlyConfigured(
                f"{name} must be at least {setting.least}, not {value!r}: {setting.help}"
            )
    return kept


def _as_zone(value: Any) -> str:
    try:
        return str(zone_named(str(value)))
    except (ValueError, OSError, KeyError):
        raise ImproperlyConfigured(
            f"timezone: there is no time zone {value!r}. A name is like Europe/Paris or UTC (on a system "
            "without time zones: pip install tzdata)"
        ) from None


def _as_bool(value: Any) -> bool:
    if isinstance(value, str):
        if value.lower() not in _YES + _NO:
            raise ValueError(value)
        return value.lower() in _YES
    if value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _as_int(value: Any) -> int:
    if value is True or (not isinstance(value, str) and value != int(value)):
        raise ValueError(value)
    return int(value)


def _as_float(value: Any) -> Any:
    if value is True:
        raise ValueError(value)
    # A whole number and a timedelta stay what they are: people read them back.
    return value if isinstance(value, int | timedelta) and value is not False else float(value)


def _as_text(value: Any) -> str:
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError(value)
    return text


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Collection) or isinstance(value, Mapping | bytes):
        raise TypeError(value)
    return value


def _as_dict(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    return value


_CHECKS = {
    bool: _as_bool,
    int: _as_int,
    float: _as_float,
    str: _as_text,
    bytes: _as_bytes,
    list: _as_list,
    dict: _as_dict,
}


def _default(setting: Setting) -> Any:
    return _own(setting.default)


def _own(value: Any) -> Any:
    """A list or dict of its own for each Settings, as users fill them in place."""
    return copy(value) if isinstance(value, list | dict) else value


# --- what nobody shall see --------------------------------------------------------------------------------

_HIDDEN = "********"
_SECRET_NAME = re.compile(
    r"api|token|(?<!routing_)key|secret|pass|signature|database_url|dburi", re.IGNORECASE
)
#: user:password@ of a URL; the password may hold any sign.
_URL_PASSWORD = re.compile(r"(\w://[^:/@\s]*):(.*)@")
#: The same among its options: rediss://host/0?ssl_password=...
_PASSWORD_OPTION = re.compile(r"(://.*password=)[^&]*")


def censored(name: str, value: Any) -> Any:
    """The value as it may be shown: no passwords, also not those inside URLs."""
    if isinstance(value, str):
        if value and _SECRET_NAME.search(name):
            return _HIDDEN
        return ";".join(_without_secrets(part) for part in value.split(";"))
    if isinstance(value, Mapping):
        return {key: censored(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [censored(name, inner) for inner in value]
    return _HIDDEN if isinstance(value, bytes) and _SECRET_NAME.search(name) else value


def _without_secrets(text: str) -> str:
    return _PASSWORD_OPTION.sub(rf"\1{_HIDDEN}", _URL_PASSWORD.sub(rf"\1:{_HIDDEN}@", text))


#: The same under a name that no argument hides.
_censored = censored
