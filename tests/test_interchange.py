"""The interchange form: what is left out has its default, and what is wrong is placed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, FeatureError
from sacl.formats import read_conversations
from sacl.interchange import from_object


def line(*turns: object, **more: object) -> str:
    return json.dumps({"id": "c1", "utterances": turns, **more})


def read(text: str) -> list[Conversation]:
    return list(read_conversations(io.StringIO(text, newline=""), "jsonl"))


def test_an_object_without_a_place_is_told_by_conversation_alone() -> None:
    with pytest.raises(DataError, match=r"^conversation 0, utterance 0: it has no speaker"):
        from_object({"utterances": [{"text": "Hello"}]})


def test_what_json_leaves_out_has_its_default() -> None:
    [first, second] = read('{"utterances": [{"speaker": "Ann", "text": "Hello"}]}\n' * 2)
    assert (first.id, second.id) == ("0", "1")
    assert first.utterances == (Utterance("Ann", "Hello", id="0"),)


def test_other_keys_of_a_conversation_are_ignored() -> None:
    assert len(read(line({"speaker": "Ann", "text": "Hello"}, source="the radio"))) == 1


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"utterances": [{"speaker": "Ann", "text": "one\u2028two"}]}', encoding="utf-8")
    [chat] = read_conversations(tmp_path / "a.jsonl")
    assert chat.utterances[0].text == "one\u2028two"


ANN = {"speaker": "Ann", "text": "Hello"}


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ("Ann: Hello", ": it is not JSON"),
        ("[1, 2]", ": it is not a conversation"),
        ('"text"', ": it is not a conversation"),
        ('{"id": "c1"}', ": it is not a conversation"),
        ('{"utterances": {}}', ": it is not a conversation"),
        ('{"utterances": [], "utterances": []}', ": it is not JSON .a key stands twice"),
        ("[" * 100_000, ": (its JSON is nested too deeply|it is not JSON)"),
        ('{"id": ' + "[" * 5000 + "]" * 5000 + "}", ": its JSON is nested too deeply"),
        ('{"utterances": [{"speaker": "Ann", "time": NaN}]}', ": it is not JSON .NaN is no number"),
        ('{"utterances": [{"speaker": "Ann", "time": 1' + "0" * 5000 + "}]}", ": it is not JSON"),
        (line(), ", conversation c1: it has no utterances"),
        (line(ANN, id=7), ": its id is of type int, not text. Write it in quotes"),
        (line("Hello"), ", conversation c1, utterance 0: it is not an object"),
        (line(ANN, {"text": "Hello"}), ", conversation c1, utterance 1: it has no speaker"),
        (line(ANN | {"speaker": None}), ", conversation c1, utterance 0: it has no speaker"),
        (line(ANN | {"speaker": ""}), ", conversation c1, utterance 0: its speaker is empty"),
        (line(ANN | {"speaker": 1}), ", conversation c1, utterance 0: its speaker is of type int"),
        (line({"speaker": "Ann"}), ", conversation c1, utterance 0: it has neither text nor vector"),
        (line(ANN | {"text": ["Hello"]}), ", conversation c1, utterance 0: its text is of type list"),
        (line(ANN | {"text": "\0"}), ", conversation c1, utterance 0: its text holds a NUL"),
        (line(ANN | {"text": "\ud800"}), ", conversation c1, utterance 0: its text holds a NUL or a lone surrogate"),
        (line(ANN | {"id": "\ud800", "texts": ""}), ", conversation c1, utterance 0: unknown key 'texts'"),
        (line(ANN | {"emoton": "joy"}), ", conversation c1, utterance 0: unknown key 'emoton'. Write 'emotion'"),
        (
            line(ANN | {"colour": "red"}),
            ", conversation c1, utterance 0: unknown key 'colour'. Leave it out, or use one of: speaker, text",
        ),
        (line(ANN | {"emotion": 3}), ", conversation c1, utterance 0: its emotion is of type int"),
        (line(ANN | {"emotion": ""}), ", conversation c1, utterance 0: its emotion is empty"),
        (line(ANN | {"time": "noon"}), ", conversation c1, utterance 0: its time is not a finite number"),
        (line(ANN | {"time": True}), ", conversation c1, utterance 0: its time is not a finite number"),
        (
            line(ANN).replace('"Hello"', '"Hello", "time": 1e999'),
            ", conversation c1, utterance 0: its time is not a finite number",
        ),
        (line(ANN | {"time": 10**400}), ", conversation c1, utterance 0: its time is not a finite number"),
        (line(ANN | {"id": "x"}, ANN | {"id": "x"}), ", conversation c1, utterance x: its id stands twice"),
        (line(ANN | {"vector": 1.0}), ", conversation c1, utterance 0: its vector is not a list of numbers"),
        (line(ANN | {"vector": [1, "2"]}), ", conversation c1, utterance 0: its vector is not a list of numbers"),
        (line(ANN | {"vector": [[1], [2]]}), ", conversation c1, utterance 0: its vector is not a list of numbers"),
        (line(ANN | {"vector": [True]}), ", conversation c1, utterance 0: its vector is not a list of numbers"),
    ],
)
def test_a_line_of_jsonl_at_fault_is_placed(tmp_path: Path, bad: str, found: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line(ANN, id="c0") + "\n" + bad + "\n")
    reading = read_conversations(path)
    assert next(reading).id == "c0"
    with pytest.raises(DataError, match=f"a.jsonl, line 2{found}") as caught:
        next(reading)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("vector", ["[]", "[1, 1e999]", "[1" + "0" * 400 + "]"])
def test_a_vector_that_is_empty_or_not_finite_is_a_feature_error(vector: str) -> None:
    bad = line(ANN).replace('"Hello"', f'"Hello", "vector": {vector}')
    with pytest.raises(FeatureError, match=", conversation c1, utterance 0: its vector"):
        read(bad)
