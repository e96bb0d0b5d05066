"""The envelope of a task's plain calls, written once: for each call only what differs is filled in.

A call that says nothing but its arguments costs half as much as by `pack`, and its bytes are the same.
"""

from __future__ import annotations

import math
import os
import re
import time
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.wire.body import NOTHING_FOLLOWS_JSON
from celeriac.wire.codecs import is_own_json, json_string, json_text
from celeriac.wire.compression import compress
from celeriac.wire.ids import default_origin, id_of, is_storable, new_id, new_tag
from celeriac.wire.packing import LEVEL, LONG_WORKFLOW, pack, too_large
from celeriac.wire.saferepr import LIMIT, SCALARS, safe_repr

#: In whose place each call writes its own, in the order of the envelope.
_HOLES = ("id", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "id")
_BODY = '{"body": "'
#: Characters of a tag, and of what closes the envelope behind it.
_TAG, _CLOSING = 36, '"}}'
#: Characters of arguments in a body that is not too long for Python's own repr, as in `pack`.
_SMALL = LIMIT - len(NOTHING_FOLLOWS_JSON) - 2
#: Stands in the envelope of what is in no group.
_NO_GROUP = '"group": null, "group_index": null'


class Form:
    """What all plain calls of one task have in common; their serializer is json."""

    __slots__ = ("_most", "_name", "_pieces", "_tag")

    def __init__(
        self,
        *,
        name: str,
        queue: str,
        exchange: str,
        routing_key: str,
        priority: int,
        ignore_result: bool | None,
        most: float = math.inf,
    ) -> None:
        marks: dict[str, Any] = {hole: new_id() for hole in _HOLES}
        text = pack(
            name=name,
            args=(),
            kwargs={},
            queue=queue,
            exchange=exchange,
            routing_key=routing_key,
            priority=priority,
            ignore_result=ignore_result,
            **marks,
        ).decode("ascii")
        text = text[text.index('"', len(_BODY)) : -_TAG - len(_CLOSING)]
        self._pieces = tuple(re.split("|".join(f'"{mark}"' for mark in marks.values()), text))
        self._name = name
        #: Bytes that a message may have.
        self._most = most
        #: The millisecond of the latest tag, and how all tags of it begin.
        self._tag = (0, "")

    def fill(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        root_id: str | None = None,
        parent_id: str | None = None,
    ) -> tuple[str, bytes]:
        """(a new id, the envelope of this call). What cannot travel raises as json does; `pack` says it
        better. EncodeError for what is too large."""
        random = os.urandom(21).hex()
        id = id_of(random)
        return id, self._filled(
            args, kwargs, f'"{id}"', random[30:], self._pieces[1], NOTHING_FOLLOWS_JSON, root_id, parent_id
        )

    def of_group(self, group_id: str, chord: Any = None) -> MemberForm:
        """The form of this task's calls as members of a group, or of a chord's header."""
        return MemberForm(self, group_id, chord)

    def fill_step(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], id: str, rest: str, root_id: str, parent_id: str
    ) -> bytes:
        """The envelope of a step of a chain; `rest` is what comes after it, as `ChainAlone` gives it."""
        if not (id.isascii() or is_storable(id)):
            raise ValueError("no store could keep its id")
        embedded = NOTHING_FOLLOWS_JSON
        if rest:
            embedded = f'{{"callbacks": null, "errbacks": null, "chain": [{rest}], "chord": null}}'
        random = os.urandom(6).hex()
        return self._filled(
            args, kwargs, json_string(id), random, self._pieces[1], embedded, root_id, parent_id
        )

    def _filled(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        quoted: str,
        random: str,
        after_id: str,
        embedded: str,
        root_id: str | None,
        parent_id: str | None,
    ) -> bytes:
        if type(args) is not tuple and type(args) is not list:
            args = list(args)
        if type(kwargs) is not dict:
            kwargs = dict(kwargs)
        arguments = json_text((args, kwargs))
        small = len(arguments) <= _SMALL
        if not small and len(arguments) > self._most and embedded is NOTHING_FOLLOWS_JSON:
            raise too_large(self._name, len(arguments), self._most)
        shown = repr(args) if small and SCALARS.issuperset(map(type, args)) else safe_repr(args)
        if kwargs:
            plain = small and SCALARS.issuperset(map(type, kwargs.values()))
            shown_kwargs = json_string(repr(kwargs) if plain else safe_repr(kwargs))
        else:
            shown_kwargs = '"{}"'
        millisecond = time.time_ns() // 1_000_000
        tag = self._tag
        if tag[0] != millisecond:
            # In one piece, for other threads fill this form too.
            tag = self._tag = (millisecond, new_tag(millisecond)[:-12])
        a, _, c, d, e, f, g, h = self._pieces
        rest = "".join(
            (
                a,
                quoted,
                after_id,
                quoted if root_id is None else json_string(root_id),
                c,
                "null" if parent_id is None else json_string(parent_id),
                d,
                json_string(shown),
                e,
                shown_kwargs,
                f,
                json_string(default_origin()),
                g,
                quoted,
                h,
                tag[1],
                random,
                _CLOSING,
            )
        )
        body = f"{arguments[:-1]}, {embedded}]".encode("ascii")
        if len(body) > LONG_WORKFLOW and embedded is not NOTHING_FOLLOWS_JSON:
            compressed_as, body = compress(body, "zlib", LEVEL)
            told = f'"stamps": {{}}, "compression": {json_string(compressed_as)}}}, "properties"'
            rest = rest.replace('"stamps": {}}, "properties"', told, 1)
        return b"".join((b'{"body": "', b2a_base64(body, newline=False), rest.encode("ascii")))


def _with_chord(chord: Any) -> str:
    if not is_own_json():
        raise ValueError("somebody else writes JSON")
    return json_text({"callbacks": None, "errbacks": None, "chain": None, "chord": chord})


class MemberForm:
    """The form of a task within one group: all members say the same group, and carry the same chord."""

    __slots__ = ("_embedded", "_form", "_group")

    def __init__(self, form: Form, group_id: str, chord: Any) -> None:
        self._form = form
        before, after = form._pieces[1].split(_NO_GROUP)
        said = f'"group": {json_string(group_id)}, "group_index": '
        #: What stands around the index.
        self._group = f"{before}{said}", after
        self._embedded = _with_chord(chord) if chord else NOTHING_FOLLOWS_JSON

    def fill(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        id: str,
        index: int,
        root_id: str | None = None,
        parent_id: str | None = None,
    ) -> bytes:
        """The envelope of one member."""
        if not (id.isascii() or is_storable(id)):
            raise ValueError("no store could keep its id")
        before, after = self._group
        return self._form._filled(
            args,
            kwargs,
            json_string(id),
            os.urandom(6).hex(),
            f"{before}{index}{after}",
            self._embedded,
            root_id,
            parent_id,
        )
