"""The pickles in circulation: every layout, every label kind, and what does not fit together."""

from __future__ import annotations

import pickle
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.conversation import Corpus
from sacl.datasets import iemocap, load_corpus, meld, mosei
from sacl.datasets.released import Released, read_released
from sacl.errors import DataError

LENGTHS = {"Ses01F_a": 3, "Ses01M_b": 2, "Ses02F_c": 1, "Ses05F_d": 2}
TRAIN, TEST, VALID = ["Ses01M_b", "Ses01F_a"], ["Ses05F_d"], ["Ses02F_c"]
SPEAKERS = {id: ["M", "F", "M"][:n] for id, n in LENGTHS.items()}
EMOTIONS = {id: [5, 0, 3][:n] for id, n in LENGTHS.items()}
SENTENCES = {id: [f"{id} says {i}" for i in range(n)] for id, n in LENGTHS.items()}
ONE_HOT = {id: [[0, 0, 1], [1, 0, 0], [0, 0, 1]][:n] for id, n in LENGTHS.items()}


def vectors(width: int, start: float = 0.0) -> dict[str, list[np.ndarray]]:
    return {
        id: [np.full(width, start + 10 * k + i, "f4") for i in range(n)] for k, (id, n) in enumerate(LENGTHS.items())
    }


def texts(**changed: Any) -> list[Any]:
    parts = {"speakers": SPEAKERS, "emotion": EMOTIONS, "sentences": SENTENCES, "train": TRAIN, "test": TEST}
    return list({**parts, "valid": VALID, **changed}.values())


def features() -> list[Any]:
    layers = [vectors(4, 1000 * n) for n in range(1, 5)]
    return [SPEAKERS, EMOTIONS, *layers, SENTENCES, TRAIN, TEST, VALID]


def nine(labels: dict[str, Any] = EMOTIONS, train: Any = (*TRAIN, *VALID), test: Any = TEST) -> tuple[Any, ...]:
    ids = {id: [f"{id}_{i}" for i in range(n)] for id, n in LENGTHS.items()}
    stacked = {id: np.stack(rows) for id, rows in vectors(2, 0.5).items()}
    return ids, SPEAKERS, labels, vectors(4), stacked, vectors(3, 0.25), SENTENCES, train, test


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def reader(content: Any, dataset: str | None = None, protocol: int = 4, **options: Any) -> Released:
        path = tmp_path / "any name"
        path.write_bytes(pickle.dumps(content, protocol))
        return read_released(path, dataset, **options)

    return reader


def turns(corpus: Corpus, split: str) -> list[tuple[str, list[tuple[str, str | None, str | None]]]]:
    return [(c.id, [(u.speaker, u.text, u.emotion) for u in c.utterances]) for c in corpus[split]]


@pytest.mark.parametrize("protocol", range(5))
def test_a_text_pickle_gives_splits_speakers_labels_and_no_vectors(read: Any, protocol: int) -> None:
    corpus, found, source = read(texts(), protocol=protocol)
    assert (corpus.name, corpus.labels, found) == ("iemocap", iemocap.LABELS, {})
    assert {split: [c.id for c in corpus[split]] for split in corpus.splits} == {
        "train": TRAIN,
        "valid": VALID,
        "test": TEST,
    }
    assert turns(corpus, "test") == [
        ("Ses05F_d", [("M", "Ses05F_d says 0", "frustrated"), ("F", "Ses05F_d says 1", "happy")])
    ]
    assert source == {"layout": "texts", "validation": "the file's own"}


def test_one_hot_speakers_are_numbered_whatever_holds_them(read: Any) -> None:
    for kind in (list, np.array, lambda row: [np.int32(x) for x in row]):
        one_hot = {id: [kind(row) for row in rows] for id, rows in ONE_HOT.items()}
        corpus = read(texts(speakers=one_hot), "emorynlp").corpus
        assert [u.speaker for u in corpus["test"][0].utterances] == ["speaker 2", "speaker 0"]


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_a_feature_pickle_gives_the_layer_asked_for_the_last_one_first(read: Any, layer: int) -> None:
    corpus, found, source = read(features(), layer=layer)
    assert source["layout"] == "features"
    assert source["layer"] == layer
    # Rows in the corpus's order: train as the file lists it, valid, test.
    starts = [10, 11, 0, 1, 2, 20, 30, 31]
    assert found["text"].dtype == np.float32
    np.testing.assert_array_equal(found["text"], np.repeat([[1000.0 * layer + n] for n in starts], 4, axis=1))
    assert len(found["text"]) == sum(1 for _ in corpus.utterances())


def test_vectors_may_be_arrays_or_lists_of_numbers(read: Any) -> None:
    content = features()
    expected = read(content).vectors["text"]
    content[2] = {id: np.stack(rows).astype("f8") for id, rows in content[2].items()}
    np.testing.assert_array_equal(read(content).vectors["text"], expected)
    content[2] = {id: rows.tolist() for id, rows in content[2].items()}
    np.testing.assert_array_equal(read(content).vectors["text"], expected)


def test_a_pickle_with_sentiments_is_meld(read: Any) -> None:
    sentiments = {id: [1, 0, 2][:n] for id, n in LENGTHS.items()}
    content = [ONE_HOT, EMOTIONS, sentiments, SENTENCES, TRAIN, TEST, VALID]
    for kind, names, felt in (
        ("emotion", meld.LABELS, ["disgust", "neutral"]),
        ("sentiment", meld.SENTIMENTS, ["positive", "neutral"]),
    ):
        corpus = read(content, labels=kind).corpus
        assert (corpus.name, corpus.labels) == ("meld", names)
        assert [u.emotion for u in corpus["test"][0].utterances] == felt


def test_a_nine_tuple_gives_three_modalities_and_its_own_utterance_ids(read: Any) -> None:
    corpus, found, source = read(nine())
    assert source["layout"] == "multimodal"
    assert {name: array.shape for name, array in found.items()} == {"text": (8, 4), "audio": (8, 2), "visual": (8, 3)}
    assert [u.id for u in corpus["test"][0].utterances] == ["Ses05F_d_0", "Ses05F_d_1"]
    first = next(corpus.utterances())
    at = 10 * list(LENGTHS).index(corpus["train"][0].id)
    assert found["audio"][0].tolist() == [at + 0.5] * 2
    assert first.text == f"{corpus['train'][0].id} says 0"


def test_a_missing_validation_list_is_drawn_from_train_always_the_same(read: Any) -> None:
    labels = {f"v{i}": [0.0, 1.5] for i in range(30)}
    content = [
        {id: ["a", "b"] for id in labels},
        {id: ["x", "x"] for id in labels},
        labels,
        *({id: np.zeros((2, width), "f4") for id in labels} for width in (3, 2, 1)),
        {id: ["", "Hm"] for id in labels},
        set(list(labels)[:20]),  # a set has no order of its own
        list(labels)[20:],
    ]
    corpus, _, source = read(content)
    assert source["validation"] == "drawn from train: 2 conversations, 10%, seed 0"
    assert [len(corpus[split]) for split in ("train", "valid", "test")] == [18, 2, 10]
    content[7] = sorted(content[7], reverse=True)
    assert {c.id for c in read(content).corpus["valid"]} == {c.id for c in corpus["valid"]}


def test_a_nine_tuple_may_list_its_validation_conversations(read: Any) -> None:
    corpus, found, source = read((*nine(train=TRAIN), VALID))
    assert [c.id for c in corpus["valid"]] == VALID
    assert source["validation"] == "the file's own"
    assert set(found) == {"text", "audio", "visual"}


def test_fractional_labels_are_sentiments_of_mosei_and_whole_ones_its_classes(read: Any) -> None:
    sentiments = {id: np.array([[-2.5], [0.0], [1 / 3]][:n]) for id, n in LENGTHS.items()}
    corpus = read(nine(sentiments)).corpus
    assert (corpus.name, corpus.labels) == ("mosei", mosei.LABELS)
    assert [u.emotion for u in corpus["test"][0].utterances] == ["strongly negative", "neutral"]
    assert {u.speaker for u in corpus.utterances()} == {"speaker 0"}
    classes = {id: [0, 6, 3][:n] for id, n in LENGTHS.items()}
    assert [u.emotion for u in read(nine(classes), "mosei").corpus["test"][0].utterances] == [
        "strongly negative",
        "strongly positive",
    ]
    for wrong in (3.01, float("nan"), 7, -1, True, "x"):
        with pytest.raises(DataError, match=r"conversation Ses01M_b, utterance 0: its (sentiment|label) is"):
            read((*nine({**EMOTIONS, "Ses01M_b": [wrong] * 2}, train=TRAIN), VALID), "mosei")


def test_iemocap_4_drops_utterances_with_their_vectors(read: Any) -> None:
    corpus, found, _ = read(nine(), "iemocap-4")
    assert (corpus.name, corpus.labels.names) == ("iemocap-4", ("happy", "sad", "neutral", "angry"))
    assert [(u.id, u.emotion) for u in corpus["test"][0].utterances] == [("Ses05F_d_1", "happy")]
    whole, vectors, _ = read(nine())
    kept = [i for i, u in enumerate(whole.utterances()) if u.emotion in corpus.labels.names]
    np.testing.assert_array_equal(found["visual"], vectors["visual"][kept])


def test_a_nine_tuple_of_four_classes_is_iemocap_4(read: Any) -> None:
    corpus = read(nine({id: [3, 0, 2][:n] for id, n in LENGTHS.items()})).corpus
    assert corpus.name == "iemocap-4"
    assert sum(1 for _ in corpus.utterances()) == 8


def whole_iemocap(happy_in_test: int) -> list[Any]:
    """As many utterances as the pickles in circulation have, of the published supports."""
    counts = [(648 - 144, 839, 1324, 933, 742, 1468), (happy_in_test, 245, 384, 170, 299, 525 - happy_in_test)]
    speakers, labels, sentences, ids = {}, {}, {}, []
    for prefix, conversations, supports in (("a", 120, counts[0]), ("b", 31, counts[1])):
        felt = [label for label, n in enumerate(supports) for _ in range(n)]
        ids.append([f"{prefix}{k}" for k in range(conversations)])
        for k, id in enumerate(ids[-1]):
            labels[id] = felt[k::conversations]
            speakers[id], sentences[id] = ["M"] * len(labels[id]), ["Yes, I do"] * len(labels[id])
    return [speakers, labels, sentences, ids[0][12:], ids[1], ids[0][:12]]


def test_the_supports_of_iemocap_4_are_checked_where_all_of_iemocap_is_there(read: Any) -> None:
    corpus = read(whole_iemocap(144), "iemocap-4").corpus
    assert sum(1 for _ in corpus.utterances("test")) == 943
    assert sum(1 for split in ("train", "valid") for _ in corpus.utterances(split)) == 3600
    with pytest.raises(
        DataError, match=r"iemocap-4, split test: found 31 conversations with 944 .* expected 31 with 943"
    ):
        read(whole_iemocap(145), "iemocap-4")


def test_sentiments_of_emorynlp_are_grouped_emotions(read: Any) -> None:
    all_seven = {**EMOTIONS, "Ses01F_a": [0, 1, 3]}
    corpus = read(texts(speakers=ONE_HOT, emotion=all_seven), "emorynlp", labels="sentiment").corpus
    chat = next(c for c in corpus["train"] if c.id == "Ses01F_a")
    assert [u.emotion for u in chat.utterances] == ["positive", "negative", "neutral"]


def test_scenes_and_numbered_speakers_tell_emorynlp_and_dailydialog(read: Any) -> None:
    def renamed(part: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(("1_2_3", "1_10_1", "2_1_1", "2_1_2"), part.values(), strict=True))

    scenes = [renamed(part) for part in (ONE_HOT, EMOTIONS, SENTENCES)]
    corpus = read([*scenes, ["1_2_3", "1_10_1"], ["2_1_1"], ["2_1_2"]]).corpus
    assert corpus.name == "emorynlp"
    assert [c.id for c in corpus["train"]] == ["1_10_1", "1_2_3"]  # by name, as the released code has it
    numbered = {id: ["0", "1", "0"][:n] for id, n in LENGTHS.items()}
    assert read(texts(speakers=numbered)).corpus.name == "dailydialog"


def test_stray_windows_1252_is_repaired(read: Any) -> None:
    corpus = read(texts(sentences={id: ["it\x92s"] * n for id, n in LENGTHS.items()}), protocol=2).corpus
    assert {u.text for u in corpus.utterances()} == {"it’s"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "it holds a dict, which is none of the known layouts"),
        (7, "it holds a int"),
        ([1, 2], "it holds a list of 2: int, int"),
        (texts()[:-1], "it holds a list of 5: .* where train, test or valid is missing, add it"),
        (texts(speakers={}), "none of the known layouts"),
        (texts(valid=[]), "split valid: it has no conversation"),
        (texts(test=["x"]), "split test: it lists a conversation 'x' that the file does not hold"),
        (texts(test=[["x"]]), "it lists a conversation of type list"),
        (texts(test=[None, []]), "it lists a conversation of type NoneType"),
        (texts(test=TRAIN[:1]), "train and test both list conversation 'Ses01M_b'"),
        (texts(train=TRAIN * 2), "conversation Ses01M_b: its id stands twice"),
        (texts(emotion={**EMOTIONS, "Ses01M_b": [1]}), "Ses01M_b: it has 2 sentences and 1 labels"),
        (texts(emotion={**EMOTIONS, "Ses01M_b": [1, 6]}), "Ses01M_b, utterance 1: its label is 6. Expected 0 to 5"),
        (texts(emotion={**EMOTIONS, "Ses01M_b": [1, None]}), "its label is of type NoneType"),
        (texts(speakers={"Ses01F_a": ["M", "F", "M"]}), "conversation Ses01M_b: it has no speakers"),
        (texts(speakers={**SPEAKERS, "Ses01M_b": ["M", [0, 0]]}), "utterance 1: its speaker is neither"),
        (texts(speakers={**SPEAKERS, "Ses01M_b": ["M", [1, 1]]}), "utterance 1: its speaker is neither"),
        (texts(speakers={**SPEAKERS, "Ses01M_b": ["M", [2, 1]]}), "utterance 1: its speaker is neither"),
        (texts(sentences={**SENTENCES, "Ses01M_b": ["a", 7]}), "utterance 1: its text is of type int"),
        (texts(sentences={**SENTENCES, "Ses01M_b": []}), "conversation Ses01M_b: it has no utterances|0 sentences"),
    ],
)
def test_what_does_not_fit_together_is_placed(read: Any, content: Any, found: str) -> None:
    with pytest.raises(DataError, match=found):
        read(content, "iemocap")


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([np.zeros(4), np.zeros(3)], "layer 1: its vectors are of unequal width"),
        ([np.zeros(4)], r"its vectors are of the shape \(1, 4\), and it has 2 utterances"),
        ([[0.5, "x"], [0.5, 1.0]], "of unequal width or no numbers"),
        ([[0.5, [1.0]], [0.5, [1.0]]], r"of the shape \(2, 0\)"),
        (np.zeros((2, 3)), "its vectors are 3 to 4 wide"),
        (None, "of unequal width or no numbers"),
    ],
)
def test_vectors_that_do_not_fit_are_placed(read: Any, rows: Any, found: str) -> None:
    content = features()
    content[2]["Ses01M_b"] = rows
    with pytest.raises(DataError, match=found):
        read(content)


def test_an_option_that_the_file_cannot_serve_is_refused(read: Any) -> None:
    with pytest.raises(DataError, match="'iemocap' with sentiment labels is not known"):
        read(texts(), labels="sentiment")
    with pytest.raises(DataError, match=r"'friends' with emotion labels is not known. Use one of: meld, emorynlp"):
        read(texts(), "friends")
    with pytest.raises(DataError, match="unknown kind of labels 'mood'"):
        read(texts(), labels="mood")
    with pytest.raises(DataError, match="there is no layer 5"):
        read(texts(), layer=5)
    with pytest.raises(DataError, match=r"which data set it is cannot be told\. Name it with --as"):
        read(texts(speakers=ONE_HOT))


ODD = st.recursive(
    st.sampled_from([None, True, 0, -1, 7, 0.5, float("nan"), "", "M", "x", b"x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(LENGTHS)), inner, max_size=4),
) | st.sampled_from([np.zeros(3), np.zeros((2, 2)), np.array(1), np.zeros((0, 0)), np.zeros((2, 1, 1), "i8")])


@given(st.sampled_from([texts(), features(), nine()]), st.data())
def test_odd_parts_give_a_corpus_or_a_data_error(content: Any, data: st.DataObject) -> None:
    content = list(content)
    at = data.draw(st.integers(0, len(content) - 1))
    odd = data.draw(ODD)
    inside = type(content[at]) is dict and data.draw(st.booleans())
    content[at] = {**content[at], data.draw(st.sampled_from(list(LENGTHS))): odd} if inside else odd
    dataset = data.draw(st.sampled_from([None, "iemocap", "mosei", "iemocap-4"]))
    with tempfile.TemporaryDirectory() as folder, suppress(DataError):
        path = Path(folder) / "odd.pkl"
        path.write_bytes(pickle.dumps(content))
        read_released(path, dataset)


def test_a_billion_laughs_are_not_followed(read: Any) -> None:
    laughs: Any = "ha"
    for _ in range(60):
        laughs = [laughs] * 10
    shared = [[0.5] * 1000] * 1000
    many = [f"c{k}" for k in range(300)]
    everywhere = dict.fromkeys(many, shared)
    talk = [dict.fromkeys(many, part) for part in (["M"] * 1000, [0] * 1000, ["ha" * 500] * 1000)]
    started = time.process_time()
    for content in (
        laughs,
        texts(speakers=dict.fromkeys(LENGTHS, laughs)),
        texts(emotion=dict.fromkeys(LENGTHS, laughs)),
        texts(sentences=dict.fromkeys(LENGTHS, laughs)),
        [SPEAKERS, EMOTIONS, *[dict.fromkeys(LENGTHS, laughs)] * 4, SENTENCES, TRAIN, TEST, VALID],
        [*talk, many[2:], many[:1], many[1:2]],
        [*talk[:2], *[everywhere] * 4, talk[2], many[2:], many[:1], many[1:2]],
    ):
        with pytest.raises(DataError):
            read(content, "iemocap")
    assert time.process_time() - started < 5


@pytest.mark.parametrize("labels", ["emotion", "sentiment"])
@pytest.mark.parametrize("name", ["meld", "emorynlp"])
def test_the_pickles_in_circulation_say_what_the_released_files_say(shared_data: Path, name: str, labels: Any) -> None:
    pickled, _, source = read_released(shared_data / name / f"cosmic_{name}.pkl", labels=labels)
    released = load_corpus(name, shared_data, labels=labels)
    assert (pickled.name, pickled.labels, source["layout"]) == (name, released.labels, "texts")
    for split in released.splits:
        for one, other in zip(pickled[split], released[split], strict=True):
            assert [(u.text, u.emotion) for u in one.utterances] == [(u.text, u.emotion) for u in other.utterances]
            parties = [[[u.speaker for u in c.utterances].index(u.speaker) for u in c.utterances] for c in (one, other)]
            assert parties[0] == parties[1]
