"""Security of the default: whatever bytes lie in a queue or a result, the decoders answer or refuse."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.exceptions import DecodeError
from celeriac.wire import compression
from chaos.fuzz import Fuzz

FUZZ = Fuzz()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_decoders_answer_or_refuse_whatever_comes(dice: random.Random) -> None:
    FUZZ.feed(dice)


@pytest.mark.parametrize("method", ["zlib", "bzip2", "lzma"])
def test_what_unfolds_without_end_is_refused(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MOST_UNFOLDED", 1 << 20)
    content_type, small = compression.compress(bytes(4 << 20), method)
    with pytest.raises(DecodeError, match="unfolds to more than 1 MiB"):
        compression.decompress(small, content_type)
    with pytest.raises(DecodeError, match="ends too early"):
        compression.decompress(compression.compress(b"some text", method)[1][:-3], content_type)
