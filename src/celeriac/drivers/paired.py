"""A broker of one technology with the results of another, in the order that loses nothing.

A turn is here two steps instead of one: save the results, then settle and claim. So a result may be there
shortly before its claim is settled, never the other way round, and three things are weaker than in one store:

- Who dies between the steps leaves a result whose message runs once more, and the second result replaces it.
- Whether an owner is known is asked before its results are saved (one more round trip where there are any).
  Who is fenced between that question and the saving leaves a result too; its outcome is refused all the same.
- After an `OperationalError` the same results are saved, and announced, once more.

Members of chords are counted by the broker: a count carries the value, so it needs no result store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence

import msgspec

from celeriac.message import Binding, Claim, Depth, Fate, Letter, Message, Outcome
from celeriac.ports import Broker, Lookout, ResultStore

#: The part of its lease for which a node waits for a reply of the results' store, twice at most: meanwhile
#: the lease, which the broker keeps, is not renewed.
LONGEST_WAIT = 0.125


class Paired:
    """Fulfils `Broker` by a broker and a result store; it owns both and closes both."""

    def __init__(self, broker: Broker, results: ResultStore) -> None:
        self._broker = broker
        self._results = results
        #: The numbers that each owner made known here holds: no broker tells before it settles.
        self._held: dict[str, set[int]] = {}
        #: Claims of an owner that came with a question, and that no turn has given yet.
        self._found: dict[str, list[Claim]] = {}

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        valid = self._still_held(owner, outcomes)
        results = [outcome.result for outcome in valid if outcome.result is not None]
        results += [result for outcome in valid for result in outcome.also]
        if results:
            # Raises Fenced before anything is saved. What a turn has claimed whose answer was lost comes now.
            known = self._broker.turn(owner, (), 0)
            if known:
                self._found.setdefault(owner, []).extend(known)
            self._results.save(results)
        found = self._found.get(owner, [])
        if found:
            want, wait = max(0, want - len(found)), 0.0
        claims = self._broker.turn(owner, [_without_result(outcome) for outcome in valid], want, wait)
        if found:
            claims = self._found.pop(owner) + claims
        self._remember(owner, valid, claims)
        return claims

    def enlist(self, owner: str, node: str, lease: float) -> None:
        self._broker.enlist(owner, node, lease)
        self._held.setdefault(owner, set())

    def adopt(self, owner: str, by: str, node: str) -> list[Claim]:
        claims = self._broker.adopt(owner, by, node)
        self._held.pop(owner, None)
        self._found.pop(owner, None)
        self._held.setdefault(by, set()).update(claim.number for claim in claims)
        return claims

    def dismiss(self, owner: str) -> None:
        self._broker.dismiss(owner)
        self._held.pop(owner, None)
        self._found.pop(owner, None)

    def close(self) -> None:
        try:
            self._broker.close()
        finally:
            self._results.close()

    def publish(self, messages: Sequence[Message]) -> None:
        self._broker.publish(messages)

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        self._broker.publish_all(batches)

    def consume(self, queues: Sequence[str]) -> None:
        self._broker.consume(queues)

    def wake(self) -> None:
        self._broker.wake()

    def beat(self, node: str, lease: float, living: Collection[str] = ()) -> list[str]:
        self._results.hurry(lease * LONGEST_WAIT)
        return self._broker.beat(node, lease, living)

    def lookout(self, node: str, distrust: Callable[[], None] = lambda: None) -> Lookout | None:
        return self._broker.lookout(node, distrust)

    def distrust(self) -> None:
        self._broker.distrust()

    def bind(self, bindings: Sequence[Binding], keep: float | None = None) -> None:
        self._broker.bind(bindings, keep)

    def bindings(self, exchange: str) -> list[Binding]:
        return self._broker.bindings(exchange)

    def announce(self, exchange: str, key: str, payload: bytes) -> None:
        self._broker.announce(exchange, key, payload)

    def depth(self, queues: Sequence[str]) -> dict[str, Depth]:
        return self._broker.depth(queues)

    def queues(self) -> list[str]:
        return self._broker.queues()

    def peek(self, queue: str, n: int) -> list[bytes]:
        return self._broker.peek(queue, n)

    def payloads(self) -> Iterator[Sequence[bytes]]:
        return self._broker.payloads()

    def firsts(self, queue: str) -> dict[int, bytes]:
        return self._broker.firsts(queue)

    def purge(self, queue: str) -> int:
        return self._broker.purge(queue)

    def seize(self, queue: str, owner: str, most: int, *, every: bool = False) -> int:
        return self._broker.seize(queue, owner, most, every=every)

    def foreign_claims(self, *, put_back: bool = False) -> int:
        return self._broker.foreign_claims(put_back=put_back)

    def letters(self, n: int) -> list[Letter]:
        return self._broker.letters(n)

    def replay(self, ids: Sequence[str]) -> int:
        return self._broker.replay(ids)

    def revoke(self, ids: Sequence[str], keep: float) -> list[str]:
        return self._broker.revoke(ids, keep)

    def relieve(self, owner: str, above: int, upto: int) -> int:
        return self._broker.relieve(owner, above, upto)

    def held(self, owner: str) -> list[Claim]:
        return self._broker.held(owner)

    def delayed(self, queue: str, n: int) -> list[tuple[float, bytes]]:
        return self._broker.delayed(queue, n)

    def revokes(self, n: int) -> list[str]:
        return self._broker.revokes(n)

    def pause(self, queue: str) -> None:
        self._broker.pause(queue)

    def resume(self, queue: str) -> None:
        self._broker.resume(queue)

    def paused(self) -> list[str]:
        return self._broker.paused()

    @property
    def revoked(self) -> Container[str]:
        return self._broker.revoked

    def _still_held(self, owner: str, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """The outcomes that may settle: one for each number held, or all of an owner made known elsewhere."""
        held = self._held.get(owner)
        if held is None:
            return outcomes
        left, valid = set(held), []
        for outcome in outcomes:
            if outcome.number in left:
                valid.append(outcome)
                if outcome.fate is not Fate.BEGUN:
                    left.discard(outcome.number)
        return valid

    def _remember(self, owner: str, settled: Sequence[Outcome], claims: Sequence[Claim]) -> None:
        held = self._held.get(owner)
        if held is not None:
            held.difference_update(o.number for o in settled if o.fate is not Fate.BEGUN)
            held.update(claim.number for claim in claims)


def _without_result(outcome: Outcome) -> Outcome:
    if outcome.result is None and not outcome.also:
        return outcome
    return msgspec.structs.replace(outcome, result=None, also=())
