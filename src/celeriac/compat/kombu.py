"""What programs import from kombu beside celery: for environments in which kombu is not installed."""

from __future__ import annotations

from celeriac.compat.connection import ConnectionTo as Connection
from celeriac.compat.connection import Producer
from celeriac.entities import Broadcast, Exchange, Queue, binding
from celeriac.exceptions import CeleriacError as KombuError
from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError, OperationalError
from celeriac.exceptions import OperationalError as ConnectionError
from celeriac.wire.codecs import register
from celeriac.wire.ids import new_id as uuid

__all__ = [
    "Broadcast",
    "Connection",
    "ConnectionError",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "Exchange",
    "KombuError",
    "OperationalError",
    "Producer",
    "Queue",
    "binding",
    "register",
    "uuid",
]
