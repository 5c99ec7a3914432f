"""Damage: what a bad disk, a broken download, a careless program or a hostile person makes of a file."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def bit_flips(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def head_flips(data: bytearray, rng: random.Random) -> None:
    """Where formats say what they are, how large and how long."""
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(64, len(data)))] = rng.randrange(256)


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def lie(data: bytearray, rng: random.Random) -> None:
    """A number somewhere, most often near the beginning, becomes an extreme one, in either byte order: sizes, counts,
    offsets, delays."""
    width, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    place = rng.randrange(max(1, min(len(data) - width, rng.choice((64, 512, len(data))))))
    value = rng.choice(_EXTREMES) & (1 << 8 * width) - 1
    data[place : place + width] = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[width], value)


def repeat(data: bytearray, rng: random.Random) -> None:
    """A stretch once more, or many times: frames within frames, tables that never end."""
    start = rng.randrange(len(data))
    stretch = data[start : start + rng.randrange(1, 2048)]
    data[start:start] = stretch * rng.choice((1, 2, 50))


def cut_out(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 4, 100, 5000))]


def swap(data: bytearray, rng: random.Random) -> None:
    """Two stretches change places."""
    length = rng.choice((1, 8, 256))
    a, b = sorted(rng.randrange(len(data)) for _ in "ab")
    if b - a >= length:
        data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]


def zeros(data: bytearray, rng: random.Random) -> None:
    """A block that was never written."""
    start, length = rng.randrange(len(data)), rng.choice((16, 512, 4096))
    data[start : start + length] = bytes(len(data[start : start + length]))


def garbage_behind(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.choice((1, 100, 10_000)))


def checksums_right(data: bytearray, rng: random.Random) -> None:
    """Of a PNG, a lie whose checksum fits: decoders believe it."""
    lie(data, rng)
    place = 8
    while data[:4] == b"\x89PNG" and place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4)
        place = end + 4


def tokens(data: bytearray, rng: random.Random) -> None:
    """Of text, one word becomes another that means something to a parser."""
    words = data.split(b" ")
    odd = (
        *(
            b"null",
            b"-1",
            b"0",
            b"1e999",
            b".nan",
            b"99999999999",
            b"'",
            b"[",
            b"{}",
            b"!!python/object/apply:os.abort []",
        ),
        *(
            b"${oc.env:HOME}",
            b"${..}",
            b"${nothing}",
            b"???",
            b"true",
            b"_target_: os.abort",
            b"\xff\xfe",
            b"&a [*a, *a]",
        ),
    )
    words[rng.randrange(len(words))] = bytearray(rng.choice(odd))
    data[:] = b" ".join(words)


Mutation = Callable[[bytearray, random.Random], None]
BINARY: tuple[Mutation, ...] = (
    *(bit_flips, head_flips, truncate, lie, lie, repeat, cut_out, swap, zeros, garbage_behind, checksums_right),
)
TEXT: tuple[Mutation, ...] = (*BINARY, tokens, tokens, tokens, tokens)


def mutate(data: bytes, rng: random.Random, mutations: tuple[Mutation, ...]) -> bytes:
    """One to three of them, one after another."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if changed:
            rng.choice(mutations)(changed, rng)
    return bytes(changed)
