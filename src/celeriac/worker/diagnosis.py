"""Whether a node can make progress, told from its vitals and from when its store last answered."""

from __future__ import annotations

from celeriac.worker.vitals import Reading

#: Seconds without an answer of the store after which nothing can be done here.
AWAY = 12.0
#: Seconds without a step of the supervisor after which it is stuck: three times what a silent store costs it.
STUCK = 30.0


def not_alive(vitals: Reading, now: float) -> list[str]:
    """Why this process should be ended and started anew; empty if it should not."""
    still = now - vitals.step
    return [f"the supervisor has been stuck for {still:.0f} s"] if still > STUCK else []


def not_ready(vitals: Reading, answered: float, lease: float, now: float) -> list[str]:
    """Why no message can be worked on here; empty if one can, however busy the children are.

    `answered` is when the store did so last; like `now` in monotonic seconds.
    """
    reasons = not_alive(vitals, now)
    if now - answered >= AWAY:
        reasons.append(f"the broker has not answered for {now - answered:.0f} s")
    elif vitals.renewed and now - vitals.renewed > lease + AWAY:
        reasons.append(f"the lease of this node was not renewed for {now - vitals.renewed:.0f} s")
    if vitals.stopping:
        reasons.append("it is stopping and takes nothing new")
    elif not vitals.ready and vitals.stillborn:
        reasons.append(f"no child can start: {vitals.stillborn} in a row died before they were ready")
    elif not vitals.ready and not vitals.renewed:
        reasons.append("it is starting")
    elif not vitals.ready and vitals.births <= vitals.wanted:
        reasons.append("it is starting: no child is ready yet")
    return reasons
