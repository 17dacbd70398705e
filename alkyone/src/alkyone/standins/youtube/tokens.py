"""Page tokens, in the encoding the real ones have: protobuf in URL-safe base64 without padding."""

from __future__ import annotations

import base64
import binascii

_OFFSET, _FLAGS, _TEXT = b"\x08", b"\x10", b"\x1a"


def search_token(offset: int) -> str:
    """Name the page that begins at ``offset``: ``CAUQAA`` is 5."""
    return _encode(_OFFSET + _varint(offset) + _FLAGS + b"\x00")


def previous_token(offset: int) -> str:
    """Name the page before the one that begins at ``offset``: ``CAUQAQ``."""
    return _encode(_OFFSET + _varint(offset) + _FLAGS + b"\x01")


def playlist_token(offset: int) -> str:
    """Name the page of a playlist that begins at ``offset``: ``EAAaBlBUOkNBVQ`` is 5."""
    text = b"PT:" + _encode(_OFFSET + _varint(offset)).encode()
    return _encode(_FLAGS + b"\x00" + _TEXT + _varint(len(text)) + text)


def offset_of(token: str, size: int) -> int | None:
    """Read a token, with pages of ``size``; None when it is none of ours."""
    raw = _decode(token)
    if raw is None:
        return None
    if raw.startswith(_FLAGS + b"\x00" + _TEXT):
        text = raw[4:].decode("ascii", "replace")
        raw = _decode(text.removeprefix("PT:"))
        offset = None if raw is None or not raw.startswith(_OFFSET) else _read(raw[1:])
        return offset if offset is not None and token == playlist_token(offset) else None
    offset = _read(raw[1:]) if raw.startswith(_OFFSET) else None
    if offset is None:
        return None
    if token == search_token(offset):
        return offset
    return max(offset - size, 0) if token == previous_token(offset) else None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read(raw: bytes) -> int | None:
    value = 0
    for place, byte in enumerate(raw[:5]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value
    return None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(token: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
