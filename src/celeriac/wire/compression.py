"""Bytes made smaller and back, by kombu's names of the methods."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire.saferepr import first_line

#: Most bytes that compressed content may unfold to: a few that came over the wire could fill any memory.
MOST_UNFOLDED = 256 << 20

#: Kombu's names of the methods, each with the module that has `compress` and `decompress`.
_METHODS = {
    "gzip": ("application/x-gzip", "zlib"),
    "zlib": ("application/x-gzip", "zlib"),
    "bzip2": ("application/x-bz2", "bz2"),
    "bzip": ("application/x-bz2", "bz2"),
    "lzma": ("application/x-lzma", "lzma"),
    "xz": ("application/x-lzma", "lzma"),
}
_MODULES = dict(_METHODS.values())


def compress(data: bytes, method: str, level: int = -1) -> tuple[str, bytes]:
    """(content type of the compression, smaller bytes). `level` is for zlib: 1 is quick, 9 thorough."""
    if method in _MODULES:
        content_type, module = method, _MODULES[method]
    elif method in _METHODS:
        content_type, module = _METHODS[method]
    else:
        raise EncodeError(f"there is no compression {method!r}; known are {', '.join(sorted(_METHODS))}")
    if module == "zlib":
        return content_type, zlib.compress(data, level)
    return content_type, import_module(module).compress(data)


def decompress(data: bytes, content_type: str) -> bytes:
    """The bytes as they were before `compress`."""
    module = _MODULES.get(content_type) or _METHODS.get(content_type, ("", ""))[1]
    if not module:
        raise DecodeError(f"nobody here can undo the compression {content_type!r}")
    try:
        unfolding: Any = _UNFOLDERS[module]()
        plain: bytes = unfolding.decompress(data, MOST_UNFOLDED)
    except MemoryError:
        raise
    except Exception as error:
        raise DecodeError(f"this is no {content_type} content: {first_line(error)}") from error
    if not unfolding.eof:
        much = len(plain) >= MOST_UNFOLDED
        how = f"unfolds to more than {in_units(MOST_UNFOLDED)}" if much else "ends too early"
        raise DecodeError(f"this {content_type} content {how}")
    return plain


def end_of(data: bytes, size: int) -> bytes:
    """The last bytes of what zlib made smaller, with no more of it in memory than that; empty if it is not
    whole, or unfolds to more than MOST_UNFOLDED."""
    unfolding, end, left = zlib.decompressobj(), b"", MOST_UNFOLDED
    try:
        while not unfolding.eof and left > 0:
            piece = unfolding.decompress(data, size)
            data = unfolding.unconsumed_tail
            if not piece:
                break
            left -= len(piece)
            end = (end + piece)[-size:]
    except zlib.error:
        return b""
    return end if unfolding.eof else b""


def in_units(size: int) -> str:
    """A number of bytes as a person reads it."""
    return f"{size / (1 << 20):.0f} MiB" if size >= 1 << 20 else f"{size} bytes"


_UNFOLDERS: dict[str, Callable[[], Any]] = {
    "zlib": zlib.decompressobj,
    "bz2": lambda: import_module("bz2").BZ2Decompressor(),
    "lzma": lambda: import_module("lzma").LZMADecompressor(),
}
