"""The unpickler: plain data as Python reads it, and nothing that a pickle can be made to do."""

from __future__ import annotations

import builtins
import collections
import copyreg
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacl.datasets.unpickler import plain_data, read_pickle
from sacl.errors import DataError

PROTOCOLS = range(6)
KEYS = st.one_of(st.text(), st.integers(-1000, 1000))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64), st.floats(allow_nan=False), st.text(), st.binary()
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner), st.sets(KEYS)),
    max_leaves=20,
)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


# What it reads


@given(PLAIN, st.sampled_from(PROTOCOLS))
def test_plain_data_comes_back_as_python_reads_it(value: Any, protocol: int) -> None:
    found = plain_data(pickle.dumps(value, protocol))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i2", ">i4", "i8", "u8", "f2", "<f4", ">f4", "f8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4)])
def test_arrays_of_numbers_come_back(protocol: int, dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 5).astype(dtype)
    for order in ("C", "F"):
        value = np.array(array, order=order)  # type: ignore[call-overload]
        written = pickle.dumps([value, value], protocol)
        found, again = plain_data(written)
        assert found is again
        np.testing.assert_array_equal(found, array)
        assert found.dtype == pickle.loads(written)[0].dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_of_numpy_become_numbers(protocol: int) -> None:
    values = [np.int32(1), np.float32(0.5), np.bool_(True), np.int64(-7), np.int32(1)]
    found = plain_data(pickle.dumps(values, protocol))
    assert found == [1, 0.5, True, -7, 1]
    assert [type(x) for x in found] == [int, float, bool, int, int]


@pytest.mark.parametrize("protocol", [0, 2])
def test_names_of_numpy_1_mean_the_same(protocol: int) -> None:
    written = pickle.dumps([np.ones((2, 2), "f4"), np.float64(2)], protocol)
    assert b"numpy._core" in written
    found = plain_data(written.replace(b"numpy._core", b"numpy.core"))
    np.testing.assert_array_equal(found[0], np.ones((2, 2)))
    assert found[1] == 2.0


def test_pickles_of_python_2_are_read_as_latin_1() -> None:
    assert plain_data(b"(lp0\nS'it\\x92s \\'so\\''\np1\na.") == ["it\x92s 'so'"]
    assert plain_data(b'(S"caf\\xe9"\nI01\nL7L\nV\\u00e9\nt.') == ("café", True, 7, "é")
    assert plain_data(b"\x80\x02]q\x00(U\x03a\x92bq\x01T\x02\x00\x00\x00\xe9!e.") == ["a\x92b", "é!"]
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n"
        b"(I1\n(I2\ntp6\ncnumpy\ndtype\np7\n(S'f4'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nb"
        b"I00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np13\ntp14\nb."
    )
    assert plain_data(array).tolist() == [1.0, 2.0]


def test_what_stands_twice_is_one_object() -> None:
    shared = ["x"]
    found = plain_data(pickle.dumps([shared, shared, {"a": shared}]))
    assert found[0] is found[1] is found[2]["a"]


def test_a_list_may_hold_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    found = plain_data(pickle.dumps(endless))
    assert found[0] is found


# What it refuses


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class HasState:
    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).touch()


def hostile(canary: Path) -> dict[str, bytes]:
    """Pickles that would make the file `canary`, or stand for a way to."""
    shell = f"touch {canary}"
    touch = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    system = named("os", "system") + b"(S'" + shell.encode() + b"'\ntR"
    call = f"(S'{shell}'\n".encode()
    stack_global = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(shell)]) + shell.encode() + b"\x85R."
    state = HasState()
    state.__dict__["path"] = str(canary)
    plausible = [{"c": ["M"]}, {"c": [0]}, {"c": ["Hello"]}, ["c"], ["c"], [Calls(exec, touch)]]
    ndarray = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    unusual = named("numpy._core.multiarray", "_reconstruct")
    dtype = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
    return {
        **{f"os.system, protocol {p}": pickle.dumps(Calls(__import__("os").system, shell), p) for p in PROTOCOLS},
        **{f"{f.__name__}, protocol {p}": pickle.dumps(Calls(f, touch), p) for f in (eval, exec) for p in (0, 2, 4)},
        "open": pickle.dumps(Calls(open, str(canary), "w")),
        "getattr": pickle.dumps(Calls(builtins.getattr, "text", "format")),
        "import": pickle.dumps(Calls(builtins.__import__, "os")),
        "stack global": stack_global,
        "nested in plausible data": pickle.dumps(plausible),
        "as the value of a dict": b"}S'a'\n" + system + b"s.",
        "as the key of a dict": b"}" + system + b"I1\ns.",
        "in the memo alone": system + b"p0\n0I1\n.",
        "popped": system + b"0].",
        "after a whole pickle's mark": b"(" + system + b"1].",
        "state of an object": pickle.dumps(state),
        "state of an object, protocol 0": pickle.dumps(state, 0),
        "state of a class": named("numpy", "ndarray") + b"}S'__array_priority__'\nI1\nsb.",
        "state of a list": b"]}S'a'\nI1\nsb.",
        "state of an array as a dict": ndarray + b"}S'a'\nI1\nsb.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
        "dotted name into os": b"\x80\x04\x8c\x05numpy\x8c\x13core.os.system.call\x93" + call + b"tR.",
        "name across lines": b"\x80\x04\x8c\x0bos\nsystem\nx\x8c\x06system\x93.",
        "name that is no text": b"\x80\x04K\x01K\x02\x93.",
        "name from the memo": b"\x8c\x02os\x940\x8c\x06system\x940h\x00h\x01\x93" + call + b"tR.",
        "copyreg": named("copyreg", "_reconstructor") + b"(cbuiltins\nobject\ncbuiltins\nobject\nNtR.",
        "copy_reg of Python 2": named("copy_reg", "_reconstructor") + b"(c__builtin__\nobject\nNNtR.",
        "ordered dict": pickle.dumps(collections.OrderedDict(a=1)),
        "partial": named("functools", "partial") + b"(" + named("os", "system") + b"tR" + call + b"tR.",
        "attrgetter": named("operator", "attrgetter") + b"(S'system'\ntR.",
        "code": named("types", "FunctionType") + b".",
        "runpy": named("runpy", "run_path") + call + b"tR.",
        "numpy.load": named("numpy", "load") + call + b"tR.",
        "numpy's own runstring": named("numpy.testing._private.utils", "runstring") + call + b"tR.",
        "frombuffer by another name": named("numpy", "frombuffer") + call + b"tR.",
        "codecs with another encoding": named("_codecs", "encode") + b"(V" + shell.encode() + b"\nS'rot13'\ntR.",
        "codecs.decode": named("_codecs", "decode") + call + b"tR.",
        "bytes of a size": named("builtins", "bytes") + b"(I1000000000000\ntR.",
        "set of a text": named("builtins", "set") + call + b"tR.",
        "inst": b"(S'" + shell.encode() + b"'\nios\nsystem\n.",
        "obj": b"(" + named("os", "system") + b"S'" + shell.encode() + b"'\no.",
        "newobj": named("builtins", "object") + b")\x81.",
        "newobj of an array": b"cnumpy\nndarray\n)\x81.",
        "newobj_ex": b"cnumpy\nndarray\n)}\x92.",
        "ext1": b"\x80\x02\x82\x01.",
        "ext2": b"\x80\x02\x83\x01\x00.",
        "ext4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "persistent id": b"Pos.system\n.",
        "binary persistent id": b"S'os.system'\nQ.",
        "buffer from elsewhere": b"\x80\x05\x97.",
        "calling a list": b"])R.",
        "calling ndarray": b"cnumpy\nndarray\n)R.",
        "calling a dtype": dtype % b"f4" + b")R.",
        "a name left as the result": named("numpy", "ndarray") + b".",
        "a name left in a list": b"]" + named("_codecs", "encode") + b"a.",
        "a dtype left in a dict": b"}S'a'\n" + dtype % b"f4" + b"s.",
        "array of objects": pickle.dumps(np.array([Calls(exec, touch)], dtype=object)),
        "array of no objects": pickle.dumps(np.array([None, 1], dtype=object)),
        **{f"dtype {code}": dtype % code.encode() + b"." for code in ("O8", "O", "V8", "U4", "S4", "M8", "c8", "f4,O")},
        "array of texts": pickle.dumps(np.array(["a", "b"])),
        "structured array": pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "O")])),
        "dtype with fields": dtype % b"f4" + b"(I3\nS'<'\nN(S'a'\nt}I-1\nI-1\nI0\ntb.",
        "dtype with the flags of objects": dtype % b"f4" + b"(I3\nS'<'\nNNNI-1\nI-1\nI63\ntb.",
        "array of a subclass": unusual + b"(cnumpy\nmatrix\n(I0\ntS'b'\ntR.",
        "array with a shape from the start": unusual + b"(cnumpy\nndarray\n(I1000000\ntS'd'\ntR.",
    }


def names_of_hostile() -> list[str]:
    return list(hostile(Path("canary")))


@pytest.mark.parametrize("name", names_of_hostile())
def test_a_hostile_pickle_is_refused_with_its_place_and_nothing_is_run(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "c"
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile(canary)[name])
    with pytest.raises(DataError, match=r"hostile\.pkl: byte \d+: (?!it is no pickle)") as error:
        read_pickle(path)
    assert not canary.exists()
    assert str(error.value).isprintable()


def test_the_canary_would_be_made_by_python_itself(tmp_path: Path) -> None:
    canary = tmp_path / "c"
    for name in ("os.system, protocol 4", "nested in plausible data", "stack global", "inst", "array of objects"):
        pickle.loads(hostile(canary)[name])
        assert canary.exists(), name
        canary.unlink()


def test_the_extension_registry_is_not_asked(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(DataError, match="EXT1 names an object of the extension registry"):
            plain_data(b"\x80\x02\x82\xf0.")
    finally:
        copyreg.remove_extension("os", "system", 240)


def test_what_is_refused_is_named_with_its_byte() -> None:
    with pytest.raises(DataError, match=r"byte 5: it names os\.system, and only plain data is read"):
        plain_data(b"(I1\n(cos\nsystem\n.")
    with pytest.raises(DataError, match="byte 1: INST makes an object"):
        plain_data(b"(ios\nsystem\n.")


def test_a_name_cannot_write_to_the_terminal() -> None:
    with pytest.raises(DataError) as error:
        plain_data(b"c\x1b[2J\rx\x07\nsystem\n.")
    assert str(error.value).isprintable()


TINY = {p: pickle.dumps([{"a": [1, 2.5, "é", b"x", None, True]}, np.ones(2, "f4"), np.int32(3)], p) for p in PROTOCOLS}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_off_anywhere_is_told_as_damaged(protocol: int) -> None:
    whole = TINY[protocol]
    for length in range(len(whole)):
        with pytest.raises(DataError, match=r"byte \d+: "):
            plain_data(whole[:length])


@given(st.sampled_from(PROTOCOLS), st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_gives_data_or_a_data_error(protocol: int, position: int, byte: int) -> None:
    changed = bytearray(TINY[protocol])
    changed[position % len(changed)] = byte
    with suppress(DataError):
        plain_data(bytes(changed))


@given(st.binary(max_size=200))
@example(b"")
@example(b".")
@example(b"(t(d.")
@example(b"0.")
@example(b"1.")
@example(b"a.")
@example(b"(0.")
def test_noise_gives_data_or_a_data_error(noise: bytes) -> None:
    with suppress(DataError):
        plain_data(noise)


def test_more_than_two_gigabytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pkl"
    with path.open("wb") as stream:
        stream.truncate(2 * 2**30 + 1)
    with pytest.raises(DataError, match=r"it has 2147483649 bytes; pickles up to 2 GiB are read"):
        read_pickle(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pkl").touch()
    for path, found in (
        (tmp_path, "it is a folder"),
        (tmp_path / "x", "no such file"),
        (tmp_path / "empty.pkl", "empty"),
    ):
        with pytest.raises(DataError, match=found):
            read_pickle(path)


@pytest.mark.parametrize("name", ["meld", "emorynlp"])
def test_the_pickles_in_circulation_come_out_as_python_reads_them(shared_data: Path, name: str) -> None:
    path = shared_data / name / f"cosmic_{name}.pkl"
    assert read_pickle(path) == pickle.loads(path.read_bytes(), encoding="latin1")
