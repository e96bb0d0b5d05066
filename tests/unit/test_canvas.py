"""Signatures and chains, and what follows a task in the worker."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from io import StringIO
from queue import SimpleQueue
from typing import Any

import msgspec
import pytest

from celeriac import Celery, Signature, canvas, chain, chord, group, maybe_signature, signature
from celeriac.canvas.breaking import breaking
from celeriac.exceptions import EncodeError, IncompleteStream
from celeriac.request import Request
from celeriac.task import Task
from celeriac.testing.worker import start_worker
from celeriac.wire.task import TaskMessage, unpack


@pytest.fixture
def add(app: Celery) -> Task[..., int]:
    @app.task(name="add")
    def add(*numbers: int) -> int:
        return sum(numbers)

    return add


def sent(app: Celery, queue: str = "celery") -> list[TaskMessage]:
    return [unpack(payload) for payload in app.broker.peek(queue, 100)]


def arguments(message: TaskMessage) -> list[Any]:
    return message.arguments({"json"})[0]


def embed(message: TaskMessage) -> dict[str, Any]:
    return message.arguments({"json"})[2]


# --- signatures -------------------------------------------------------------------------------------------


def test_a_signature_is_a_dict_in_celerys_order(add: Task[..., int]) -> None:
    made = add.s(1, key=2)
    assert list(made) == ["task", "args", "kwargs", "options", "subtask_type", "immutable"]
    assert made == {
        "task": "add",
        "args": (1,),
        "kwargs": {"key": 2},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    assert maybe_signature(json.loads(json.dumps(made)), add.app).delay  # type: ignore[union-attr]
    assert pickle.loads(pickle.dumps(made)) == made == copy.deepcopy(made)


def test_new_arguments_go_in_front_and_options_win(app: Celery, add: Task[..., int]) -> None:
    made = add.s(2).set(queue="low", priority=3)
    made.apply_async((1,), queue="high")
    (message,) = sent(app, "high")
    assert (arguments(message), message.priority) == ([1, 2], 3)
    assert made.clone((0,), queue="x").options == {"queue": "x", "priority": 3}
    assert made.replace(args=(9,)).args == (9,)
    assert made.args == (2,)


def test_an_immutable_signature_takes_no_more_arguments(app: Celery, add: Task[..., int]) -> None:
    made = add.si(2)
    made.delay(1, key=5)
    made.apply_async((1,), queue="x")
    assert arguments(sent(app)[0]) == arguments(sent(app, "x")[0]) == [2]
    made.set(immutable=False)
    assert made(1) == 3


def test_a_signature_is_called_here_or_elsewhere(app: Celery, add: Task[..., int]) -> None:
    assert add.s(1)(2) == 3
    assert add.s(1).apply((2,)).get() == 3
    app.conf.task_always_eager = True
    assert ~add.s(1, 2) == 3


def test_a_signature_of_an_unknown_task_is_sent_by_name(app: Celery) -> None:
    result = signature("far.away", args=(1,), app=app).delay()
    assert [message.id for message in sent(app)] == [result.id]
    assert app.signature("far.away", (1,), {"a": 2}).kwargs == {"a": 2}


def test_signature_copies_a_dict_or_signature(app: Celery, add: Task[..., int]) -> None:
    made = add.s(1)
    assert signature(made) == made
    assert signature(made) is not made
    assert signature(dict(made), app=app).type is add
    assert maybe_signature(made) is made
    assert maybe_signature(made, clone=True) is not made
    assert maybe_signature(None) is None
    assert made.name == made.task == "add"


def test_links_are_kept_once(add: Task[..., int]) -> None:
    made = add.s(1)
    assert made.link(add.s(2)) == add.s(2)
    made.link(add.s(2))
    assert made.on_error(add.s(3)) is made
    assert made.options == {"link": [add.s(2)], "link_error": [add.s(3)]}
    assert made.flatten_links() == [made, add.s(2)]


def test_a_signature_reads_like_the_call(add: Task[..., int]) -> None:
    assert repr(add.s(1, a="b")) == "add(1, a='b')"
    assert repr(add.s(1) | add.s()) == "add(1) | add()"


def test_a_frozen_signature_is_sent_under_its_id(app: Celery, add: Task[..., int]) -> None:
    made = add.s(1)
    result = made.freeze()
    assert made.id == result.id
    assert made.apply_async() == result


# --- chains -----------------------------------------------------------------------------------------------


def test_a_chain_sends_its_first_step_with_the_others_reversed(app: Celery, add: Task[..., int]) -> None:
    result = (add.s(1, 1) | add.s(2) | add.si(3)).apply_async((5,), queue="start")
    (message,) = sent(app, "start")
    assert arguments(message) == [5, 1, 1]
    assert [step["args"] for step in embed(message)["chain"]] == [[3], [2]]
    assert result.parent is not None
    assert result.parent.parent == message.id
    assert len({message.id, result.parent.id, result.id}) == 3


def test_a_countdown_delays_the_first_step(app: Celery, add: Task[..., int]) -> None:
    (add.s(1) | add.s(2)).apply_async(countdown=60)
    depth = app.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.delayed) == (0, 1)


def test_the_ids_of_a_chain_name_root_and_parents(app: Celery, add: Task[..., int]) -> None:
    result = (add.s(1) | add.s(2) | add.s(3)).delay()
    (message,) = sent(app)
    last, second = embed(message)["chain"]
    assert message.id == message.root_id == second["options"]["root_id"] == last["options"]["root_id"]
    assert second["options"]["parent_id"] == message.id
    assert last["options"]["parent_id"] == second["options"]["task_id"]
    assert last["options"]["task_id"] == result.id


def test_chains_are_flattened_and_one_of_a_single_task_stays_a_chain(add: Task[..., int]) -> None:
    steps = chain(chain(add.s(1), add.s(2)), add.s(3)).tasks
    assert [step.args for step in steps] == [(1,), (2,), (3,)]
    assert chain([add.s(1), add.s(2)]) == add.s(1) | add.s(2)
    assert chain(chain(add.s(1), add.s(2))) == add.s(1) | add.s(2)
    assert chain(add.s(1)) == chain([add.s(1)])
    assert chain(add.s(1)).tasks == [add.s(1)]
    made = add.s(1)
    made |= add.s(2)
    assert isinstance(made, chain)
    assert len(made) == 2
    again = Signature.from_dict(json.loads(json.dumps(made)))
    assert isinstance(again, chain)
    assert repr(again) == "add(1) | add(2)"


def test_CAN_5_a_chain_that_is_called_is_sent(app: Celery, add: Task[..., int]) -> None:
    assert chain()() is None
    two, one = chain(add.s(1), add.s(2))(4), chain(add.s(1))(4)
    of_two, of_one = sent(app)
    assert arguments(of_two) == arguments(of_one) == [4, 1]
    assert [step["options"]["task_id"] for step in embed(of_two)["chain"]] == [two.id]
    assert (embed(of_one)["chain"], of_one.id) == (None, one.id)


def test_links_of_a_chain_go_to_the_last_step_and_errbacks_to_all(app: Celery, add: Task[..., int]) -> None:
    made = add.s(1) | add.s(2)
    made.link(add.s(8))
    made.apply_async(link_error=add.s(9))
    (message,) = sent(app)
    (last,) = embed(message)["chain"]
    assert embed(message)["callbacks"] is None
    assert embed(message)["errbacks"][0]["args"] == [9]
    assert last["options"]["link"][0]["args"] == [8]
    assert last["options"]["link_error"][0]["args"] == [9]


def test_a_chain_runs_here_too(app: Celery, add: Task[..., int]) -> None:
    ran = (add.s(1, 1) | add.s(2) | add.s(3)).apply()
    assert ran.get() == 7
    assert ran.parent is not None
    assert ran.parent.get() == 4
    app.conf.task_always_eager = True
    assert (add.s(1) | add.s(2)).delay().get() == 3

    @app.task
    def fail(*_: Any) -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        (fail.s() | add.s(1)).apply().get()


# --- groups and chords ------------------------------------------------------------------------------------


def test_workflows_read_like_they_are_built(add: Task[..., int]) -> None:
    a = add.s
    assert repr(group(a(1), a(2))) == "group([add(1), add(2)])"
    assert repr(group()) == "group(<empty>)"
    assert repr(chord([a(1), a(2)], a(3))) == "%add([add(1), add(2)], 3)"
    assert repr(a(1) | group(a(1), a(2)) | a() | a(9)) == "add(1) | %(add([add(1), add(2)]) | add(9))"
    assert repr(add.starmap([(1, 2)])) == "[add(*x) for x in [(1, 2)]]"
    assert repr(add.map([1])) == "[add(x) for x in [1]]"


def test_CAN_4_workflows_name_the_module_of_their_tasks_once(app: Celery) -> None:
    a, t = (app.task(name=name)(lambda *args: args).s for name in ("proj.add", "proj.tsum"))
    for workflow, text in (
        (a(2, 2) | a(4) | a(5), "proj.add(2, 2) | add(4) | add(5)"),
        (group(a(1, 1), a(2, 2)), "group([proj.add(1, 1), add(2, 2)])"),
        (chord([a(1), a(2)], t(5, z=3)), "%proj.tsum([add(1), add(2)], 5, z=3)"),
        (chord([a(1), a(2)]), "<chord without body: [proj.add(1), proj.add(2)]>"),
        (group(a(1), a(2)) | t() | a(3), "%(proj.tsum([add(1), add(2)]) | add(3))"),
        (a(1) | group(a(2), a(3)) | t(), "proj.add(1) | %tsum([add(2), add(3)])"),
        (a(1) | group(a(1) | a(2), group(a(3))), "proj.add(1) | group([add(1) | add(2), group([add(3)])])"),
    ):
        assert repr(workflow) == text  # as stock Celery shows it, but for its tuples
    assert repr(chain()).startswith("<chain@0x")


def test_workflows_are_joined_by_the_rules(add: Task[..., int]) -> None:
    a = add.s
    both = group(a(1), a(2))
    assert both | a(3) == chord([a(1), a(2)], a(3))
    assert chain(both, both, a(3)) == chord([a(1), a(2)], chord([a(1), a(2)], a(3)))
    assert a(0) | both | a(3) == chain.of([a(0), chord([a(1), a(2)], a(3))])
    assert chord([a(1)], a(2)) | a(3) | a(4) == chord([a(1)], chain.of([a(2), a(3), a(4)]))
    assert a(1) | group(a(2)) == a(1) | a(2)
    assert chord([a(1)], a(2)) | both == chain.of([chord([a(1)], a(2)), both])
    assert [len(both), both[0], (a(1) | a(2))[1]] == [2, a(1), a(2)]
    assert both.clone() == both
    assert both.clone() is not both


def test_workflows_come_back_from_json_as_they_were(add: Task[..., int]) -> None:
    a = add.s
    for made in (group(a(1)), chord([a(1), group(a(2))], a(3) | a(4)), a(1) | group(a(2), a(3)) | a(4)):
        again = Signature.from_dict(json.loads(json.dumps(made)))
        assert (type(again), repr(again)) == (type(made), repr(made))
        assert repr(pickle.loads(pickle.dumps(made))) == repr(made)
        assert json.dumps(again) == json.dumps(made)


def test_frozen_workflows_keep_their_ids(app: Celery, add: Task[..., int]) -> None:
    a = add.s
    made = a(0) | group(a(1), a(2) | a(3)) | a(4)
    result = made.freeze()
    assert made.apply_async().as_tuple() == result.as_tuple()
    header = result.parent
    assert len(header.results) == 2
    assert header.parent.id == sent(app)[0].id


def test_a_generator_is_gone_through_when_a_group_is_sent(app: Celery, add: Task[..., int]) -> None:
    made: list[int] = []

    def calls() -> Iterator[Signature]:
        for n in range(3):
            made.append(n)
            yield add.s(n)

    tasks = group(calls())
    assert made == []
    assert len(tasks.delay()) == 3
    assert [arguments(message) for message in sent(app)] == [[0], [1], [2]]
    with pytest.raises(RuntimeError, match="used up"):
        tasks.delay()
    assert len(group(calls())) == 3


def test_members_that_say_nothing_more_go_as_those_that_do(app: Celery, add: Task[..., int]) -> None:
    def members() -> list[Signature]:
        return [add.s(1), add.si(2), add.s(3).set(task_id="own"), add.s("ä")]

    def shown(message: TaskMessage) -> tuple[Any, ...]:
        ours = {"delivery_tag": None, "_payload": None, "_headers": None}
        return msgspec.structs.astuple(msgspec.structs.replace(message, **ours))

    group(members()).apply_async((0,), task_id="g", root_id="r")
    chord(members(), add.s().set(task_id="b")).apply_async((0,), task_id="b")
    quick = sent(app)
    app.broker.purge("celery")
    group(members()).apply_async((0,), task_id="g", root_id="r", retries=0)
    chord(members(), add.s().set(task_id="b"), retries=0).apply_async((0,), task_id="b")
    slow = sent(app)
    assert [shown(message) for message in quick[:4]] == [shown(message) for message in slow[:4]]
    for one, other in zip(quick[4:], slow[4:], strict=True):
        assert (arguments(one), one.group_index) == (arguments(other), other.group_index)
        assert embed(one)["chord"]["chord_size"] == embed(other)["chord"]["chord_size"] == 4
    assert [message.root_id for message in quick[:4]] == ["r"] * 4
    assert quick[6].id == "own"


def test_what_a_member_cannot_carry_is_named(add: Task[..., int]) -> None:
    with pytest.raises(EncodeError, match="argument 2 of add is an object"):
        group(add.s(1), add.s(1, object())).delay()


def test_links_of_a_group_and_of_a_chord(app: Celery, add: Task[..., int]) -> None:
    tasks = group(add.s(1), add.s(2))
    tasks.link(add.s(7))
    tasks.link_error(add.s(8))
    assert [task.options.get("link") for task in tasks.tasks] == [[add.si(7)], None]
    assert [task.options["link_error"] for task in tasks.tasks] == [[add.s(8)]] * 2
    made = chord([add.s(1)], add.s(2))
    made.link(add.s(7))
    made.link_error(add.s(8))
    assert made.body.options == {"link": [add.s(7)], "link_error": [add.s(8)]}
    with pytest.raises(TypeError, match="chord"):
        tasks.apply_async(link=add.s(1))


def test_a_group_is_skewed(app: Celery, add: Task[..., int]) -> None:
    tasks = group(add.s(n) for n in range(4)).skew(start=1, stop=3, step=1)
    assert [task.options["countdown"] for task in tasks.tasks] == [1, 2, 3, 3]


def test_members_of_a_chord_carry_its_size_and_its_body(app: Celery, add: Task[..., int]) -> None:
    result = chord([add.s(1), add.s(2) | add.s(3), group(add.s(4), add.s(5))])(add.s(6))
    messages = sent(app)
    assert [message.group_index for message in messages] == [0, None, 2, 3]
    bodies = [embed(message)["chord"] for message in messages]
    assert [body and body["chord_size"] for body in bodies] == [4, None, 4, 4]
    assert bodies[0]["options"]["task_id"] == result.id
    (last,) = embed(messages[1])["chain"]
    assert (last["options"]["group_index"], last["options"]["chord"]["chord_size"]) == (1, 4)
    assert {message.group for message in messages} == {result.parent.id, None}


# --- what follows -----------------------------------------------------------------------------------------


def follow(app: Celery, **request: Any) -> list[TaskMessage]:
    made = Request(id="me", root_id="root", task="add", **request)
    return [unpack(message.payload) for message in canvas.follow_ups(app, made, 5)]


def test_what_follows_is_a_child_and_of_a_chain_its_last_step(app: Celery, add: Task[..., int]) -> None:
    made = Request(id="me", task="add", callbacks=[add.s(1).set(task_id="one"), add.s(1) | add.s(2)])
    first, second = canvas.follow_ups(app, made, 5)
    assert made.children[0] == first.id == "one"
    assert made.children[1].parent == second.id


def test_a_success_calls_callbacks_with_the_value(app: Celery, add: Task[..., int]) -> None:
    one, other = follow(app, callbacks=[json.loads(json.dumps(s)) for s in (add.s(1), add.si(2))])
    assert (arguments(one), arguments(other)) == ([5, 1], [2])
    for message in (one, other):
        assert (message.root_id, message.parent_id) == ("root", "me")
    assert follow(app) == []


def test_a_success_sends_the_next_step_with_the_rest(app: Celery, add: Task[..., int]) -> None:
    (add.s(1) | add.s(2) | add.s(3).set(queue="low")).delay()
    steps = embed(sent(app)[0])["chain"]
    (second,) = follow(app, chain=steps)
    assert (second.id, second.parent_id) == (steps[-1]["options"]["task_id"], "me")
    assert (arguments(second), embed(second)["chain"]) == ([5, 2], steps[:-1])
    (third,) = follow(app, chain=embed(second)["chain"])
    assert (third.routing_key, arguments(third), embed(third)["chain"]) == ("low", [5, 3], None)


def test_a_chain_as_callback_starts_as_a_chain(app: Celery, add: Task[..., int]) -> None:
    (message,) = follow(app, callbacks=[json.loads(json.dumps(add.s(1) | add.s(2)))])
    assert arguments(message) == [5, 1]
    assert embed(message)["chain"][0]["args"] == [2]
    assert (message.root_id, message.parent_id) == ("root", "me")


def test_a_failure_calls_errbacks_of_both_kinds(app: Celery) -> None:
    heard: list[Any] = []

    @app.task(name="new_style", bind=True)
    def new_style(self: Any, request: Request, exc: BaseException, traceback: str) -> None:
        heard.append((request.id, exc, traceback))

    @app.task(name="old_style")
    def old_style(task_id: str) -> None: ...

    @app.task(name="broken")
    def broken(request: Request, exc: BaseException, traceback: str) -> None:
        raise KeyError

    errbacks = [
        json.loads(json.dumps(s)) for s in (broken.s(), new_style.s(), old_style.s(), app.signature("far"))
    ]
    request = Request(id="me", root_id="root", errbacks=errbacks)
    error = ValueError("no")
    messages = [unpack(message.payload) for message in canvas.error_follow_ups(app, request, error)]
    assert [(message.name, arguments(message)) for message in messages] == [
        ("old_style", ["me"]),
        ("far", ["me"]),
    ]
    assert all((message.root_id, message.parent_id) == ("root", "me") for message in messages)
    canvas.call_errbacks(app, request, error, "Traceback ...")
    assert heard == [("me", error, "Traceback ...")]
    assert canvas.error_follow_ups(app, Request(id="me"), error) == ()


# --- what a workflow weighs -------------------------------------------------------------------------------


def bytes_of(app: Celery, made: Signature) -> int:
    messages, _ = canvas.messages_of(app, made)
    return sum(len(message.payload) for message in messages)


def test_CAN_12_a_pipeline_of_ten_groups_of_25_is_small_in_the_store(
    app: Celery, add: Task[..., int]
) -> None:
    stages = chain(*[group(add.si(n, place) for n in range(25)) for place in range(10)])
    assert bytes_of(app, stages) < 128 * 1024


def test_CAN_12_a_group_of_25_chains_of_ten_is_small_in_the_store(app: Celery, add: Task[..., int]) -> None:
    rows = group([chain(*[add.s(place) for place in range(10)]) for _ in range(25)])
    assert bytes_of(app, rows) < 128 * 1024
    assert bytes_of(app, rows | add.s()) < 128 * 1024


def test_CAN_12_the_caller_knows_the_ids_of_groups_that_are_sent_later(
    app: Celery, add: Task[..., int]
) -> None:
    with app.testing():
        result = (
            group(add.s(1), add.s(2)) | group(add.si(3), add.si(4)) | group(add.si(5), add.si(6))
        ).delay()
        assert result.get() == [5, 6]
        assert result.parent.get() == [3, 4]
        assert result.parent.parent.get() == [1, 2]


# --- stamps -----------------------------------------------------------------------------------------------


class Visitor(canvas.StampingVisitor):
    """Stamps everything, and notes the way."""

    def __init__(self) -> None:
        self.way: list[str] = []

    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        self.way.append(sig.task)
        return {"mark": "m"}

    def on_group_start(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        self.way.append("group")
        return {"in_group": 1}

    def on_chain_start(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        self.way.append("chain")
        return {"in_chain": 1}

    def on_chain_end(self, sig: Signature, **headers: Any) -> None:
        self.way.append("end")

    def on_chord_body(self, sig: Signature, **headers: Any) -> dict[str, Any]:
        return {"is_body": 1}

    def on_callback(self, callback: Signature, **headers: Any) -> dict[str, Any]:
        return {"linked": 1}


def test_TSK_24_stamps_are_options_that_stamped_headers_names(add: Task[..., int]) -> None:
    assert add.s(1).stamp(x=5, y=[1]).options == {"x": 5, "y": [1], "stamped_headers": ["x", "y"]}
    assert add.s(1).stamp(x=5).stamp(x=6, z=1).options == {"x": 6, "z": 1, "stamped_headers": ["x", "z"]}
    assert add.s(1).stamp(x=5).stamp(append_stamps=True, x=6).options["x"] == [6, 5]
    stamped = add.s(1).stamp(x=5)
    assert stamped.clone(x=9).options == {"x": 5, "stamped_headers": ["x"]}


def test_TSK_24_a_visitor_comes_to_every_task_of_a_workflow(add: Task[..., int]) -> None:
    visitor = Visitor()
    made = chain(add.s(1).set(link=add.s(9)), add.s(2)).stamp(visitor)
    assert visitor.way == ["chain", "add", "add", "add", "end"]
    first, second = made.tasks
    assert first.options["link"].options == {
        "in_chain": 1,
        "linked": 1,
        "mark": "m",
        "stamped_headers": ["in_chain", "linked", "mark"],
    }
    assert second.options == {"in_chain": 1, "mark": "m", "stamped_headers": ["in_chain", "mark"]}
    made = chord([add.s(1), add.s(2)], add.s(3)).stamp(Visitor())
    assert [task.options["stamped_headers"] for task in made.tasks] == [["in_group", "mark"]] * 2
    assert made.body.options == {
        "in_group": 1,
        "is_body": 1,
        "mark": "m",
        "stamped_headers": ["in_group", "is_body", "mark"],
    }


def test_TSK_24_an_errback_that_all_of_a_group_share_is_stamped_in_each_once(add: Task[..., int]) -> None:
    made = group(add.s(1), add.s(2))
    made.link_error(add.s(9))
    made.stamp(mark=1)
    made.stamp(mark=2, append_stamps=True)
    assert [task.options["link_error"][0].options["mark"] for task in made.tasks] == [[2, 1], [2, 1]]


def test_TSK_24_stamps_travel_as_headers_and_stay_with_what_takes_the_place_of_a_task(app: Celery) -> None:
    seen: list[tuple[str, Any]] = []

    @app.task(name="one", bind=True)
    def one(self: Any) -> None:
        seen.append(("one", self.request.stamps))
        raise self.replace(two.s())

    @app.task(name="two", bind=True)
    def two(self: Any) -> int:
        seen.append(("two", self.request.stamps))
        return 2

    with app.testing() as stepper:
        one.s().stamp(tenant="a").delay()
        (message,) = sent(app)
        assert message.headers["stamped_headers"] == ["tenant"]
        assert message.headers["stamps"] == {"tenant": "a"}
        stepper.run()
    assert seen == [("one", {"tenant": "a"}), ("two", {"tenant": "a"})]


# --- results of what was called -----------------------------------------------------------------------------


def test_RES_1_then_returns_at_once_and_calls_when_the_task_has_ended(
    app: Celery, add: Task[..., int]
) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise ValueError

    ended: SimpleQueue[str] = SimpleQueue()
    with start_worker(app):
        fails.delay().then(lambda result: ended.put("well"), on_error=lambda result: ended.put(result.state))
        assert ended.get(timeout=10) == "FAILURE"
        group(add.s(1), add.s(2)).delay().then(lambda results: ended.put(str(results.get())))
        assert ended.get(timeout=10) == "[1, 2]"


def test_RES_1_all_that_a_task_called_is_collected(app: Celery, add: Task[..., int]) -> None:
    @app.task(name="calls")
    def calls() -> str:
        add.delay(1)
        add.delay(2)
        return "called"

    with app.testing():
        result = calls.delay()
        with pytest.raises(IncompleteStream, match="has not ended"):
            list(result.iterdeps())
        assert [value for _, value in result.collect()] == ["called", 1, 2]
        assert [(parent and parent.id, node.get()) for parent, node in result.iterdeps()] == [
            (None, "called"),
            (result.id, 1),
            (result.id, 2),
        ]
        assert result.get_leaf() == 2


def test_RES_1_what_came_of_what_is_a_graph_that_can_be_drawn(app: Celery, add: Task[..., int]) -> None:
    @app.task(name="calls")
    def calls() -> str:
        (add.s(1) | add.s(2)).delay()
        return "called"

    with app.testing():
        result = calls.delay()
        with pytest.raises(IncompleteStream, match="has not ended"):
            assert result.graph
        assert len(result.build_graph(intermediate=True)) == 1
        result.get()
        (last,) = result.children or ()
        last.get()
        graph = result.graph
        drawn = StringIO()
        graph.to_dot(drawn)
        assert graph.topsort() == [last, result]
        assert [list(graph.edges()), graph.valency_of(result), graph.valency_of(last)] == [[result], 1, 0]
        assert f'"{result.id}" -> "{last.id}"' in drawn.getvalue()


def test_CAN_6_a_group_of_one_that_was_sent_as_a_group_stays_one(app: Celery) -> None:
    @app.task(name="same")
    def same(*values: Any) -> list[Any]:
        return list(values)

    @app.task(name="other", bind=True)
    def other(self: Any) -> None:
        raise self.replace(same.s(1))

    with app.testing():
        assert chain(same.s(1), group(group(same.s(2)))).delay().get() == [[1], 2]
        made = other.s() | same.s(2)
        made.tasks[-1] = group([same.s(2)])
        assert made.delay().get() == [[[1], 2]]


def test_CAN_6_in_a_chain_a_group_of_one_is_that_one_also_where_it_comes_first(app: Celery) -> None:
    @app.task(name="same")
    def same(*values: Any) -> list[Any]:
        return list(values)

    one, then = group([same.s(1)]), same.s(2)
    with app.testing():
        assert chain(one).delay().get() == [1]
        assert chain(one, then).delay().get() == [[1], 2]
        assert chain(same.s(0), chain(one, then)).delay().get() == [[[0], 1], 2]
        assert chain(same.s(0), one | then).delay().get() == [[[[0], 1]], 2]
        assert (one | then).delay().get() == [[[1]], 2]


def test_CAN_10_the_end_of_a_chord_is_told_where_its_body_would_have_gone(
    app: Celery, add: Task[..., int]
) -> None:
    app.conf.task_routes = {"add": {"queue": "routed"}}
    here = add.s(1).set(queue="here")
    bodies = [
        add.s(1),
        here,
        here | add.s(2),
        group(here, add.s(2)),
        chord([here], add.s(2)),
        add.s(1) | here,
    ]
    told = [breaking(app, body, "a group")[0] for body in bodies]
    assert [message.queue for message in told] == ["routed", "here", "here", "here", "here", "routed"]
    assert len({message.id for message in told}) == len(told)


def test_CAN_10_a_body_that_is_no_json_breaks_no_sending(app: Celery, add: Task[..., int]) -> None:
    assert breaking(app, add.s(object()), "a group") == ()
