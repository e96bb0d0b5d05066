"""Members of a chord are counted in the turn that settles them, once each; the last one sets off the body."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from celeriac.drivers import counting
from celeriac.message import (
    FAILED_HOLE,
    PARENT_HOLE,
    ROOT_HOLE,
    VALUES_HOLE,
    Claim,
    Count,
    Depth,
    Fate,
    Members,
    Message,
    Outcome,
    Result,
)
from celeriac.ports import ResultStore
from celeriac.testing.conformance.rig import Child, Opened, all_of, message, name_of, until


class Counting(Opened):
    """What `Outcome.counts` and `Outcome.also` promise."""

    def test_the_last_member_sets_off_the_body_with_all_values_in_order(self, child: Child) -> None:
        claims = members(child, 3)
        for index in (2, 0):
            child.settle(Outcome(claims[index].number, counts=(counted(index, 3),)))
            assert child.depth().ready == 0
        child.settle(Outcome(claims[1].number, counts=(counted(1, 3),)))
        (body,) = child.claim(want=9)
        assert told(body) == {"name": "body", "values": [0, 10, 20], "parent": "member 1", "root": "root 1"}
        child.settle(Outcome(body.number))
        assert child.depth() == Depth()

    def test_values_come_as_they_were_written(self, child: Child) -> None:
        odd = [
            "1.0", "12345678901234567890123", "1e400", '"\\u00fc \\" \\\\ / \\n"', '"ü队列🥬\x7f"', "null",
            '{"a": [1, {"b": "]"}]}', '"SUCCESS\\", 3]"', "[]", "true", "-0.0",
        ]  # fmt: skip
        claims = members(child, len(odd))
        for index, claim in enumerate(claims):
            count = counted(index, len(odd), value=odd[index])
            child.settle(Outcome(claim.number, counts=(count,)))
        (body,) = child.claim(want=9)
        text = msgspec.json.decode(msgspec.json.decode(body.payload)["body"], type=list[msgspec.Raw])
        assert [bytes(value).decode() for value in text] == odd

    def test_all_members_may_be_counted_in_one_turn(self, child: Child) -> None:
        claims = members(child, 40)
        outcomes = [
            Outcome(claim.number, result=Result(f"member {n}", b"done"), counts=(counted(n, 40),))
            for n, claim in enumerate(claims)
        ]
        random.Random(1).shuffle(outcomes)
        (body,) = child.turn(*outcomes, want=9)
        assert told(body)["values"] == [10 * n for n in range(40)]

    def test_a_chord_of_one_and_an_order_with_gaps(self, child: Child) -> None:
        (only,) = members(child, 1)
        (body,) = child.turn(Outcome(only.number, counts=(counted(7, 1),)), want=9)
        assert told(body)["values"] == [70]

    def test_if_one_failed_the_other_message_is_sent_with_the_first_that_did(self, child: Child) -> None:
        claims = members(child, 4)
        child.settle(
            Outcome(claims[3].number, counts=(counted(3, 4, failed=True),)),
            Outcome(claims[1].number, Fate.DEAD, counts=(counted(1, 4, failed=True),), id="dead"),
            Outcome(claims[0].number, counts=(counted(0, 4),)),
        )
        assert child.depth() == Depth(claimed=1, dead=1)
        (broken,) = child.turn(Outcome(claims[2].number, counts=(counted(2, 4),)), want=9)
        item = [1, "member 1", "FAILURE", {"exc_type": "KeyError"}]
        assert told(broken) == {"name": "broken", "values": item, "failed": "member 1", "parent": "member 2"}

    def test_an_id_may_have_quotes_and_backslashes(self, child: Child) -> None:
        for odd in ('a"b', "a\\", '", "SUCCESS", ', '\\"'):
            (ended,) = members(child, 1)
            (body,) = child.turn(Outcome(ended.number, counts=(named(odd, "SUCCESS"),)), want=9)
            assert told(body)["values"] == [7]
            child.settle(Outcome(body.number))
            (failed,) = members(child, 1)
            (broken,) = child.turn(Outcome(failed.number, counts=(named(odd, "FAILURE"),)), want=9)
            assert [told(broken)["values"], told(broken)["failed"]] == [
                [1, odd, "FAILURE", 7],
                msgspec.json.encode(odd).decode()[1:-1],
            ]
            child.settle(Outcome(broken.number))

    def test_a_member_counts_once_whatever_it_gave(self, child: Child) -> None:
        claims = members(child, 4)
        child.settle(
            Outcome(claims[0].number, counts=(counted(0, 2),)),
            Outcome(claims[1].number, counts=(counted(0, 2, value='"another"'),)),
            Outcome(claims[2].number, counts=(counted(0, 2, failed=True),)),
        )
        assert child.depth() == Depth(claimed=1)
        (body,) = child.turn(Outcome(claims[3].number, counts=(counted(1, 2),)), want=9)
        assert told(body)["values"] == [0, 10]

    def test_a_member_counts_once_among_many_that_are_counted_in_one_turn(self, child: Child) -> None:
        claims = members(child, 12)
        indexes = [3, 1, 0, 1, 2, 4, 3, 6, 5, 1, 7, 7]
        counts = [counted(index, 8, value=f'"{n}"') for n, index in enumerate(indexes)]
        outcomes = [
            Outcome(claim.number, counts=(count,)) for claim, count in zip(claims, counts, strict=True)
        ]
        child.settle(*outcomes[:2])
        (body,) = child.turn(*outcomes[2:], want=9)
        assert told(body)["values"] == ["2", "1", "4", "0", "5", "8", "7", "10"]

    def test_members_are_counted_whatever_else_ends_in_their_turn(self, child: Child) -> None:
        claims = members(child, 4)
        outcomes = [
            Outcome(claim.number, result=Result(f"member {n}", b"done"), counts=(counted(n, 4),))
            for n, claim in enumerate(claims)
        ]
        outcomes[1] = msgspec.structs.replace(outcomes[1], follow_ups=(message("follow-up"),))
        outcomes[2] = msgspec.structs.replace(outcomes[2], fate=Fate.DEAD, id="dead")
        claims = child.turn(*outcomes, want=9)
        (body,) = [claim for claim in claims if name_of(claim.payload) == "body"]
        assert told(body)["values"] == [0, 10, 20, 30]
        assert sorted(name_of(claim.payload) for claim in claims) == ["body", "follow-up"]

    def test_who_comes_when_the_chord_is_through_begins_no_new_count(self, child: Child) -> None:
        claims = members(child, 3)
        for claim in claims:
            child.settle(Outcome(claim.number, counts=(counted(0, 1),)))
        assert [told(body)["values"] for body in child.claim(want=9)] == [[0]]

    def test_what_is_not_settled_is_not_counted(self, child: Child, hire: Callable[..., Child]) -> None:
        a, b = members(child, 2)
        child.settle(Outcome(a.number))
        child.settle(Outcome(a.number, counts=(counted(0, 1),)), Outcome(77, counts=(counted(0, 1),)))
        assert child.depth() == Depth(claimed=1)
        child.settle(Outcome(b.number, counts=(counted(0, 1),)))
        assert child.depth() == Depth(ready=1)

    def test_outcomes_that_are_said_again_count_once(self, child: Child) -> None:
        claims = members(child, 2)
        outcomes = [Outcome(claim.number, counts=(counted(n, 2),)) for n, claim in enumerate(claims)]
        child.settle(*outcomes)
        child.settle(*outcomes)
        assert child.depth() == Depth(ready=1)

    def test_chords_do_not_mix_and_one_outcome_may_count_for_several(self, child: Child) -> None:
        (claim,) = members(child, 1)
        counts = tuple(counted(n, 2, chord=chord) for chord in ("one", "two") for n in (0, 1))
        child.settle(Outcome(claim.number, counts=(*counts, counted(0, 2, chord="three"))))
        bodies = child.claim(want=9)
        assert [told(body)["values"] for body in bodies] == [[0, 10], [0, 10]]

    def test_a_body_of_several_messages_goes_where_each_belongs(self, hire: Callable[..., Child]) -> None:
        child = hire(queues=["celery", "other"])
        (claim,) = members(child, 1)
        body = (template("body"), template("second", queue="other"))
        count = msgspec.structs.replace(counted(0, 1), body=body)
        claims = child.turn(Outcome(claim.number, counts=(count,)), want=9)
        assert sorted((told(claim)["name"], claim.queue) for claim in claims) == [
            ("body", "celery"),
            ("second", "other"),
        ]

    def test_other_results_are_saved_in_the_same_step(self, child: Child, results: ResultStore) -> None:
        (claim,) = members(child, 1)
        also = (Result("second", b"2"), Result("third", b"3"))
        child.settle(Outcome(claim.number, result=Result("first", b"1"), also=also))
        assert results.load(["first", "second", "third"]) == [b"1", b"2", b"3"]

    def test_who_publishes_may_tell_how_many_there_are(self, child: Child) -> None:
        told_size = (Members("chord", 2, 60.0), Members("other", 5))
        first = msgspec.structs.replace(message("a"), members=told_size)
        child.send(first, message("b"))
        claims = child.claim(want=9)
        assert [name_of(claim.payload) for claim in claims] == ["a", "b"]
        child.settle(*(Outcome(claim.number, counts=(counted(n, 2),)) for n, claim in enumerate(claims)))
        assert child.depth() == Depth(ready=1)

    def test_a_member_that_nobody_can_read_fails_the_chord_also_as_the_last_one(self, child: Child) -> None:
        first = msgspec.structs.replace(message("a"), members=(header_of(2),))
        child.send(first, message("b"))
        a, b = child.claim(want=9)
        unread = msgspec.structs.replace(counted(1, 0, failed=True), body=(), broken=())
        child.settle(Outcome(a.number, counts=(counted(0, 2),)))
        (ended,) = child.turn(Outcome(b.number, Fate.DEAD, counts=(unread,), id="dead"), want=9)
        assert (told(ended)["name"], told(ended)["failed"]) == ("broken", "member 1")
        child.settle(Outcome(ended.number))
        assert child.depth() == Depth(dead=1)

    def test_who_cannot_be_read_and_stands_in_no_chord_counts_nothing(self, child: Child) -> None:
        claims = members(child, 2)
        unread = msgspec.structs.replace(counted(0, 0, failed=True), body=(), broken=())
        child.settle(Outcome(claims[0].number, counts=(unread,)))
        (body,) = child.turn(Outcome(claims[1].number, counts=(counted(0, 1),)), want=9)
        assert told(body)["values"] == [0]

    def test_a_header_whose_producer_sends_no_more_of_it_breaks_its_chord(
        self, child: Child, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counting, "PATIENCE", 0.001)

        def header() -> Iterator[list[Message]]:
            yield [msgspec.structs.replace(message("a"), members=(header_of(3),))]
            yield [message("b")]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            child.broker.publish_all(header())
        a, b = child.claim(want=9)
        child.settle(Outcome(a.number, counts=(counted(0, 3),)))
        until(lambda: child.broker.beat("another", 30.0) == [] and child.depth().ready == 1)
        (ended,) = child.claim(want=9)
        assert (told(ended)["name"], told(ended)["failed"]) == ("broken", "chord")
        child.settle(Outcome(b.number, counts=(counted(1, 3),)), Outcome(ended.number))
        child.broker.beat("another", 30.0)
        assert child.depth() == Depth()

    def test_a_header_that_was_sent_in_parts_and_is_whole_is_waited_for(
        self, child: Child, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counting, "PATIENCE", 0.001)
        first = msgspec.structs.replace(message("a"), members=(header_of(2),))
        last = msgspec.structs.replace(message("b"), completes=("chord",))
        child.broker.publish_all([[first], [last]])
        child.broker.beat("another", 30.0)
        claims = child.claim(want=9)
        child.settle(*(Outcome(claim.number, counts=(counted(n, 2),)) for n, claim in enumerate(claims)))
        (body,) = child.claim(want=9)
        assert told(body)["values"] == [0, 10]

    def test_of_many_that_count_at_the_same_time_one_is_the_last(
        self, hire: Callable[..., Child], threads: ThreadPoolExecutor
    ) -> None:
        workers = [hire(f"child {n}") for n in range(4)]
        size = 60
        workers[0].send(*(message(str(n)) for n in range(size)))

        def work(worker: Child) -> list[Claim]:
            bodies: list[Claim] = []
            while claims := worker.claim(want=3):
                for claim in claims:
                    name = name_of(claim.payload)
                    if name == "body":
                        bodies.append(claim)
                    else:
                        worker.settle(Outcome(claim.number, counts=(counted(int(name), size),)))
            return bodies

        bodies = all_of([threads.submit(work, worker) for worker in workers])
        bodies.append(workers[0].claim(want=9))
        (body,) = [claim for claimed in bodies for claim in claimed]
        assert told(body)["values"] == [10 * n for n in range(size)]


def members(child: Child, n: int) -> Sequence[Claim]:
    """So many claims, for members to be settled by."""
    child.send(*(message(f"member {i}") for i in range(n)))
    claims = child.claim_all()
    assert len(claims) == n
    return claims


def counted(
    index: int, size: int, value: str | None = None, failed: bool = False, chord: str = "chord"
) -> Count:
    """The end of one member, whose value is ten times its index."""
    status, said = (
        ("FAILURE", '{"exc_type": "KeyError"}') if failed else ("SUCCESS", value or str(10 * index))
    )
    return Count(
        chord=chord,
        member=f"member {index}",
        root=f"root {index}",
        index=index,
        size=size,
        item=f'[1, "member {index}", "{status}", {said}]'.encode(),
        body=BODY,
        broken=BROKEN,
        failed=failed,
        ttl=60.0,
    )


def named(member: str, status: str) -> Count:
    """The end of the only member of a chord, under this id."""
    item = f'[1, {msgspec.json.encode(member).decode()}, "{status}", 7]'.encode()
    count = counted(0, 1, failed=status != "SUCCESS", chord=f"chord of {member} {status}")
    return msgspec.structs.replace(count, member=member, item=item)


def template(name: str, queue: str = "celery") -> Message:
    """A message with every hole: the values lie in JSON that lies in a JSON string."""
    payload = b'{"name": "%s", "body": "%s", "failed": "%s", "parent": "%s", "root": "%s"}'
    holes = (VALUES_HOLE, FAILED_HOLE if name == "broken" else b"", PARENT_HOLE, ROOT_HOLE)
    return Message(name, queue, payload % (name.encode(), *holes))


#: The same objects for all members, as a worker has them.
BODY, BROKEN = (template("body"),), (template("broken"),)


def told(claim: Claim) -> dict[str, object]:
    """What stands in a body or broken message."""
    said = msgspec.json.decode(claim.payload)
    values = msgspec.json.decode(said.pop("body"))
    if not said["failed"]:
        del said["failed"]
    else:
        del said["root"]
    return {**said, "values": values}


def header_of(size: int) -> Members:
    """What the first message of a chord's header tells."""
    return Members("chord", size, 60.0, (template("broken"),))
