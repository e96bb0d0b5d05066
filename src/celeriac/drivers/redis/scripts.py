"""The Lua scripts of this folder, ready to be called: packed once, sent by their digest."""

from __future__ import annotations

from collections.abc import Sequence
from pkgutil import get_data
from typing import Any

import msgspec
from hiredis import ReplyError

from celeriac.drivers.redis.connection import Connection, checked, pack
from celeriac.drivers.redis.keys import Keys

try:
    # The interpreter's own. hashlib loads OpenSSL, which takes each worker a MiB.
    from _sha1 import sha1  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from hashlib import sha1


def _text(name: str) -> str:
    # Not importlib.resources, which loads zipfile, tempfile and shutil: another MiB.
    text = get_data(__name__, f"lua/{name}.lua")
    assert text is not None
    return text.decode()


def names(keys: Keys) -> bytes:
    """The key prefixes as prelude.lua wants them."""
    spelt = _spelt(keys)
    return b"" if spelt == _USUAL else msgspec.msgpack.encode(spelt)


def _spelt(keys: Keys) -> tuple[str | int, ...]:
    return (
        keys.claims,
        keys.owners,
        keys.nodes,
        keys.delayed,
        keys.bell,
        keys.letters,
        keys.letter_times,
        keys.letter_counts,
        keys.queues,
        keys.lookout,
        len(keys.prefix.encode()),
        keys.revoked,
        keys.listened,
        keys.bindings,
        keys.paused,
        keys.batches,
        keys.headers,
        keys.chords,
    )


#: Without a prefix of the user's they are the same for all, and stand in the script: to unpack them was a
#: tenth of what a turn costs that finds nothing.
_USUAL = _spelt(Keys())
_NAMES = f"local NAMES = ARGV[1] ~= '' and cmsgpack.unpack(ARGV[1]) or {{{', '.join(map(repr, _USUAL))}}}\n"
_MOVES, _COUNTING = _text("moves"), _text("count")
_PRELUDE = _NAMES + _text("prelude")


class Script:
    """One script; loads itself into a server that does not know it (any more)."""

    def __init__(self, name: str, prelude: str = _PRELUDE + _MOVES) -> None:
        self._prelude = prelude
        self._text = _text(name)
        self.digest: str = sha1(self.source.encode()).hexdigest()

    @property
    def source(self) -> str:
        """All of it, as Redis wants it; put together when it is sent, which is once a server."""
        return self._prelude + self._text

    def packed(self, keys: list[str], *arguments: Any) -> bytes:
        """The command as it goes over the wire."""
        return pack("EVALSHA", self.digest, len(keys), *keys, *arguments)

    def front(self, keys: list[str], arguments: int) -> bytes:
        """How `packed` begins for these keys; so many arguments follow, each as `$length` and itself."""
        known = pack("EVALSHA", self.digest, len(keys), *keys)
        count, rest = known.split(b"\r\n", 1)
        return b"*%d\r\n%b" % (int(count[1:]) + arguments, rest)

    def whole(self, keys: list[str], *arguments: Any) -> bytes:
        """The command with the script's text, for one that is sent once and whose reply is not read."""
        return pack("EVAL", self.source, len(keys), *keys, *arguments)

    def call(self, connection: Connection, packed: bytes) -> Any:
        """Send what `packed` gave; only a server that answers NOSCRIPT costs a second round trip."""
        reply = connection.exchange(packed)
        return self.concluded(connection, packed, reply) if isinstance(reply, ReplyError) else reply

    def concluded(self, connection: Connection, packed: bytes, reply: Any) -> Any:
        """What comes of the first reply to `packed`."""
        if isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT"):
            connection.call("SCRIPT", "LOAD", self.source)
            return connection.call_packed(packed)
        return checked(reply, connection)

    def replies(
        self, connection: Connection, packed: bytes, count: int, told: Sequence[Any] = ()
    ) -> list[Any]:
        """As `call`, with the replies of the commands that stand behind this one in `packed`. `told` are
        those that came over another connection."""
        replies = list(told) or [connection.exchange(packed), *connection.read_several(count - 1)]
        if isinstance(replies[0], ReplyError) and str(replies[0]).startswith("NOSCRIPT"):
            connection.call("SCRIPT", "LOAD", self.source)
            replies = [connection.exchange(packed), *connection.read_several(count - 1)]
        for reply in replies:
            if isinstance(reply, ReplyError):
                checked(reply, connection)
        return replies


#: What most turns do not need, see others.lua.
_OTHERS = f"local function settle_others(...)\n{_MOVES}{_COUNTING}{_text('others')}end\n"

TURN = Script("turn", prelude=_PRELUDE + _OTHERS)
PUBLISH = Script("publish")
SEND = Script("send", prelude="")
ENLIST = Script("enlist")
BEAT = Script("beat", prelude=_PRELUDE + _MOVES + _COUNTING)
ADOPT = Script("adopt")
HELD = Script("held")
CLAIMED = Script("claimed")
RELIEVE = Script("relieve")
DISMISS = Script("dismiss")
LOOK = Script("look")
RING = Script("ring")
RESIGN = Script("resign", prelude="")
DEPTH = Script("depth")
PURGE = Script("purge")
SEIZE = Script("seize")
PUT_BACK = Script("put_back")
LETTERS = Script("letters")
REPLAY = Script("replay")
REVOKE = Script("revoke")
PUSH = Script("push", prelude="")
UPDATE = Script("update", prelude="")
RESUME = Script("resume")
TICK = Script("tick", prelude="")
PLAN = Script("plan")
