"""Which tasks must not begin any more; each function runs inside a transaction of its caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from celeriac.drivers.revoked import shown_id
from celeriac.drivers.sqlite import statements as sql
from celeriac.drivers.sqlite.moves import as_json
from celeriac.message import Claim

#: How many whose time is over one transaction removes at most, so that it stays short.
SWEPT_AT_ONCE = 2000


def revoke(db: sqlite3.Connection, ids: Sequence[str], keep: float, now: float) -> list[str]:
    """Note them; returns those of which somebody holds a message, or may hold one."""
    sweep(db, now)
    # What is delayed now must still be revoked when it is due.
    last_due = db.execute(sql.LAST_ETA).fetchone()[0] or now
    db.execute(sql.REVOKE, (max(now, last_due) + keep, as_json(ids)))
    held = {shown_id(payload) for (payload,) in db.execute(sql.CLAIMED)}
    return list(ids) if None in held else [id for id in ids if id in held]


def of_claims(db: sqlite3.Connection, claims: Sequence[Claim], now: float) -> dict[str, bool] | None:
    """By id whether it is revoked, of the claims that show theirs; None if no task at all is."""
    if db.execute(sql.ANYTHING_REVOKED).fetchone() is None:
        return None
    ids = [id for claim in claims if (id := shown_id(claim.payload)) is not None]
    revoked = of_ids(db, ids, now)
    return {id: id in revoked for id in ids}


def of_ids(db: sqlite3.Connection, ids: Sequence[str], now: float) -> set[str]:
    """Those that are revoked."""
    return {id for (id,) in db.execute(sql.REVOKED_OF, (as_json(ids), now))}


def sweep(db: sqlite3.Connection, now: float) -> None:
    """Forget some of those whose time is over."""
    db.execute(sql.DELETE_OVER_REVOKED, (now, SWEPT_AT_ONCE))
