"""Row 11: `revoke(terminate=True)` races with the end of its task, between neighbours that must be spared."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict

import msgspec

from celeriac import Celery, states
from chaos.stage import Stage, until

#: Seconds that the task lasts that is meant, at most.
LONGEST = 0.015


class Verdicts:
    """All ends that were ever told of each task."""

    def __init__(self, app: Celery) -> None:
        assert app.results is not None
        self._ends: defaultdict[str, list[str]] = defaultdict(list)
        self._lock = threading.Lock()
        self._watch = app.results.watch(self._hear)

    def expect(self, *words: str) -> None:
        self._watch.add(words)

    def _hear(self, word: str, payload: bytes) -> None:
        state = msgspec.json.decode(payload)["status"]
        if state in states.READY_STATES:
            with self._lock:
                self._ends[word].append(state)

    def wait_for(self, *words: str) -> dict[str, list[str]]:
        """Until each of them has ended."""
        until(lambda: all(self._ends[word] for word in words), f"{words} end", pause=0.001)
        return {word: self._ends[word] for word in words}

    def close(self) -> None:
        self._watch.close()


def race(stage: Stage, dice: random.Random, count: int, pool: str, *arguments: str) -> Counter[str]:
    """So many tasks are terminated at about the time at which they end. Counts what became of them: each ends
    once, as REVOKED or as SUCCESS, and its neighbours run once and in peace, those in its process too."""
    worker = stage.start_worker("-P", pool, *arguments)
    queue, app = stage.own_queue(worker), stage.app()
    task = "awork" if pool == "asyncio" else "work"
    verdicts, became = Verdicts(app), Counter[str]()
    # No id comes twice: what was revoked once stays so.
    name = f"{pool}-{len(stage.sent)}"
    for number in range(count):
        meant = f"{name}-{number}-meant"
        words = [f"{name}-{number}-{n}" for n in range(4)]
        words.insert(2, meant)
        verdicts.expect(*words)
        lasts = dice.uniform(0.0, LONGEST)
        for word in words:
            stage.send(word, lasts if word == meant else 0.0, task=task, queue=queue)
        until(lambda meant=meant: stage.ledger.has_begun(meant), f"{meant} begins", pause=0.0005)  # type: ignore[misc]
        time.sleep(max(0.0, lasts + dice.uniform(-0.007, 0.003)))
        app.control.revoke(meant, terminate=True)
        ends = verdicts.wait_for(*words)
        state = ends.pop(meant)
        assert state in ([states.REVOKED], [states.SUCCESS]), f"{meant}: {state}"
        became[state[0]] += 1
        assert set(map(tuple, ends.values())) == {(states.SUCCESS,)}, f"neighbours of {meant}: {ends}"
    verdicts.close()
    worker.stop()
    stage.ledger.read()
    hit = {entry.word for entry in stage.ledger.entries if entry.deliveries}
    assert not hit, f"counted as killed: {sorted(hit)}"
    twice = [word for word, begins in stage.ledger.begins.items() if begins != 1]
    assert not twice, f"did not run once: {twice}"
    stage.ledger.begins.clear()
    stage.ledger.entries.clear()
    return became
