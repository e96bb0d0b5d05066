"""A form gives the bytes that `pack` gives, but for the id and the delivery tag."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.wire.body import ChainAlone
from celeriac.wire.form import Form
from celeriac.wire.ids import new_tag
from celeriac.wire.packing import pack
from celeriac.wire.task import sent_at, unpack

WAY: dict[str, Any] = {
    "name": 'proj."q%s"é',
    "queue": "mail %d",
    "exchange": "x",
    "routing_key": "mail %d",
    "priority": 3,
    "ignore_result": None,
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TAG = re.compile(rb'"delivery_tag": "[0-9a-f-]{36}"')


def without_tag(payload: bytes) -> bytes:
    cut, count = TAG.subn(b"", payload)
    assert count == 1
    return cut


@given(
    st.lists(VALUES, max_size=4),
    st.dictionaries(st.text(), VALUES, max_size=3),
    st.none() | st.text(min_size=1),
    st.none() | st.text(min_size=1),
)
def test_a_filled_form_is_the_envelope_that_pack_writes(
    args: list[Any], kwargs: dict[str, Any], root_id: str | None, parent_id: str | None
) -> None:
    id, payload = Form(**WAY).fill(tuple(args), kwargs, root_id, parent_id)
    whole = pack(**WAY, id=id, args=tuple(args), kwargs=kwargs, root_id=root_id, parent_id=parent_id)
    assert without_tag(payload) == without_tag(whole)


CHORD = {"task": "té", "args": [], "kwargs": {"n": 1.5}, "options": {"task_id": "b"}, "chord_size": 12}


@given(
    st.lists(VALUES, max_size=4),
    st.dictionaries(st.text(), VALUES, max_size=3),
    st.text(min_size=1),
    st.none() | st.text(min_size=1),
    st.integers(0, 99999),
    st.none() | st.just(CHORD),
)
def test_the_form_of_a_member_is_the_envelope_that_pack_writes(
    args: list[Any], kwargs: dict[str, Any], text: str, parent_id: str | None, index: int, chord: Any
) -> None:
    form = Form(**WAY).of_group(text, chord)
    payload = form.fill(tuple(args), kwargs, text, index, None, parent_id)
    member: dict[str, Any] = {"group": text, "group_index": index, "chord": chord}
    whole = pack(**WAY, id=text, args=tuple(args), kwargs=kwargs, parent_id=parent_id, **member)
    assert without_tag(payload) == without_tag(whole)


@pytest.mark.parametrize("steps", [0, 1, 3, 60])
def test_the_form_of_a_step_is_the_envelope_that_pack_writes_and_hands_on_the_rest(steps: int) -> None:
    chain = [{"task": f"té{n}", "args": [n, {"x]": "}], "}], "kwargs": {}} for n in range(steps)]
    following = {"task": "next", "args": (), "kwargs": {}, "options": {"task_id": "i"}}
    before = pack(**WAY, id="h", args=(), kwargs={}, chain=[*chain, following])
    embed = unpack(before).arguments({"json"})[2]
    assert isinstance(embed, ChainAlone)
    step, rest = embed.next_and_rest()
    assert step == {**following, "args": []}
    payload = Form(**WAY).fill_step((1.5, "ä"), {"n": None}, "i", rest, "r", "h")
    ids: dict[str, Any] = {"id": "i", "root_id": "r", "parent_id": "h"}
    assert without_tag(payload) == without_tag(
        pack(**WAY, **ids, args=(1.5, "ä"), kwargs={"n": None}, chain=chain or None)
    )


@pytest.mark.parametrize("length", [3000, 5000])
def test_the_form_of_a_member_compresses_as_pack_does(length: int) -> None:
    args = ("x" * length,)
    payload = Form(**WAY).of_group("g", CHORD).fill(args, {}, "id", 0)
    member: dict[str, Any] = {"group": "g", "group_index": 0, "chord": CHORD}
    assert without_tag(payload) == without_tag(pack(**WAY, id="id", args=args, kwargs={}, **member))
    assert len(Form(**WAY).of_group("g").fill(args, {}, "id", 0)) > length


@pytest.mark.parametrize("text", ["x" * 900, "x" * 1100, "ä" * 3000])
def test_long_arguments_are_shown_as_pack_shows_them(text: str) -> None:
    id, payload = Form(**WAY).fill([text], {"also": text})
    assert without_tag(payload) == without_tag(pack(**WAY, id=id, args=[text], kwargs={"also": text}))


def test_every_call_has_an_id_and_a_tag_of_its_own_that_tells_its_age() -> None:
    form = Form(**WAY)
    messages = [unpack(form.fill((), {})[1]) for _ in range(500)]
    assert len({message.id for message in messages}) == len({m.delivery_tag for m in messages}) == 500
    shape = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}")
    assert all(shape.fullmatch(m.id) and shape.fullmatch(m.delivery_tag or "") for m in messages)
    oldest = unpack(pack(**WAY, id="i", args=(), kwargs={}))
    assert all(sent_at(m) <= (sent_at(oldest) or 0.0) for m in messages)  # type: ignore[operator]
    assert new_tag(0).startswith("00000000-0000-7")
