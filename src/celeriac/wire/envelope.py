"""The envelope of a task message by its members, as protocol 2 names them."""

from __future__ import annotations

from typing import Any

import msgspec

Limit = int | float | None


class Headers(msgspec.Struct, gc=False):
    task: str | None = None
    id: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int | None = 0
    timelimit: tuple[Limit, Limit] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = False
    replaced_task_nesting: int | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None


class DeliveryInfo(msgspec.Struct, gc=False):
    exchange: str | None = ""
    routing_key: str | None = ""
    redelivered: bool | None = False


class Properties(msgspec.Struct, gc=False):
    correlation_id: str | None = None
    reply_to: str | None = None
    delivery_info: DeliveryInfo = msgspec.field(default_factory=DeliveryInfo)
    priority: int | None = 0
    body_encoding: str | None = None
    delivery_tag: str | int | None = None


class Envelope(msgspec.Struct, gc=False):
    #: msgspec undoes base64 itself.
    body: bytes
    content_encoding: str | None = msgspec.field(name="content-encoding", default="utf-8")
    content_type: str | None = msgspec.field(name="content-type", default="application/json")
    headers: Headers = msgspec.field(default_factory=Headers)
    properties: Properties = msgspec.field(default_factory=Properties)


#: Which of them the protocol uses itself.
HEADER_NAMES = frozenset(Headers.__struct_fields__) | {"lang"}
PROPERTY_NAMES = frozenset(Properties.__struct_fields__) | {"delivery_mode", "expiration"}
