"""The unpickler: pickles that would take memory or time out of proportion to their size."""

from __future__ import annotations

import struct
import time

import pytest

from sacl.datasets.unpickler import plain_data
from sacl.errors import DataError


def at(number: int) -> bytes:
    return struct.pack("<Q", number)


def deep_tuple(depth: int) -> bytes:
    return b")" + b"\x85" * depth


DTYPE = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
COLLIDING = b"".join(b"\x8a\x0a" + (k * (2**61 - 1) + 1).to_bytes(10, "little") + b"N" for k in range(10_000))
GREEDY = {
    "bytes of a huge length": b"\x8e" + at(2**62) + b"x.",
    "bytes of a negative length": b"\x8e" + at(2**64 - 1) + b"x.",
    "text of a huge length": b"\x8d" + at(2**40) + b"x.",
    "a huge number": b"\x8b" + struct.pack("<I", 2**31 - 1) + b"x.",
    "a huge number that is there": b"\x8b" + struct.pack("<I", 10**6) + b"x" * 10**6 + b".",
    "a number of many digits": b"I" + b"9" * 10**6 + b"\n.",
    "a memo entry that is not there": b"h\x07.",
    "a memo entry far out": b"I1\nr\xff\xff\xff\x7f.",
    "a memo entry below": b"I1\np-1\n.",
    "shape larger than the file": ARRAY + b"(I1\n(I1000000000\nI1000000000\nt" + DTYPE + b"I00\nS''\ntb.",
    "shape with a zero and a huge side": ARRAY + b"(I1\n(I0\nL4611686018427387904L\nt" + DTYPE + b"I00\nS''\ntb.",
    "shape whose product wraps": ARRAY + b"(I1\n(L4294967296L\nL4294967296L\nt" + DTYPE + b"I00\nS''\ntb.",
    "negative shape": ARRAY + b"(I1\n(I-1\nt" + DTYPE + b"I00\nS'abcd'\ntb.",
    "too few bytes": ARRAY + b"(I1\n(I2\nt" + DTYPE + b"I00\nS'abcd'\ntb.",
    "scalar of the wrong size": b"cnumpy.core.multiarray\nscalar\n(" + DTYPE + b"S'ab'\ntR.",
    "the same bytes in many arrays": b"B"
    + struct.pack("<I", 10**6)
    + bytes(10**6)
    + b"p0\n]"
    + (ARRAY + b"(I1\n(I250000\nt" + DTYPE + b"I00\ng0\ntba") * 2000
    + b".",
    "the same list in many sets": b"(" + b"I1\n" * 10**5 + b"lp0\n0]" + b"c__builtin__\nset\n(g0\ntRa" * 5000 + b".",
    "marks": b"(" * 10**6 + b".",
    "tuples in tuples as a key": b"}" + deep_tuple(10**5) + b"Ns.",
    "keys that collide": b"}(" + COLLIDING + b"u.",
    "a key that is a list": b"}]Ns.",
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_pickle_is_refused_at_once(name: str) -> None:
    started = time.process_time()
    with pytest.raises(DataError, match=r"byte \d+: "):
        plain_data(GREEDY[name])
    assert time.process_time() - started < 2


def test_deep_data_and_billions_of_laughs_take_no_more_than_their_bytes() -> None:
    started = time.process_time()
    laughs = b"]p0\n" + b"".join(b"(" + b"g%d\n" % n * 10 + b"lp%d\n" % (n + 1) for n in range(40)) + b"."
    assert len(plain_data(laughs)) == 10
    plain_data(deep_tuple(100_000) + b".")
    plain_data(b"]" * 100_000 + b"a" * 99_999 + b".")
    assert time.process_time() - started < 2
