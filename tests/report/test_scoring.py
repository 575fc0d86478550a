"""Somebody else's predictions are scored as our own, or refused with the utterance that is at fault."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sacl.datasets import load_corpus
from sacl.errors import DataError
from sacl.report.runs import read_run
from sacl.report.scoring import read_map, score_predictions, score_record, score_tables


@pytest.fixture
def corpus(own_data):
    return load_corpus(own_data)


@pytest.fixture
def lines(make_run):
    file = make_run() / "seed-0" / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def write(tmp_path):
    def write(lines):
        file = tmp_path / "theirs.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file

    return write


def test_a_runs_own_predictions_get_the_runs_figures(make_run, corpus):
    folder = make_run(seeds=(0,))
    scored = score_predictions(folder / "seed-0" / "predictions.jsonl", corpus)
    result = read_run(folder).results[0]["test"]
    assert scored.scores.weighted_f1 == pytest.approx(result["weighted_f1"])
    assert scored.scores.support == tuple(result["support"])
    assert scored.intervals["accuracy"].low <= scored.scores.accuracy <= scored.intervals["accuracy"].high


def test_only_ids_and_predictions_are_needed_and_their_order_does_not_matter(corpus, lines, write):
    whole = score_predictions(write(lines), corpus)
    bare = [{k: line[k] for k in ("conversation", "utterance", "predicted")} for line in reversed(lines)]
    scored = score_predictions(write(bare), corpus)
    assert scored.scores == whole.scores
    assert scored.intervals == whole.intervals
    assert scored.ece is None
    assert whole.ece is not None


def test_unlabelled_utterances_need_no_prediction(corpus, lines, write):
    labelled = [line for line in lines if line["emotion"] is not None]
    assert len(labelled) < len(lines)
    assert score_predictions(write(labelled), corpus).scores == score_predictions(write(lines), corpus).scores


def test_what_predict_writes_is_scored_and_across_data_sets_through_a_map(corpus, lines, write):
    chats = [
        {
            "id": c.id,
            "utterances": [
                {"id": x["utterance"], "speaker": "?", "emotion": "x" + x["predicted"], "probability": 0.5}
                for x in lines
                if x["conversation"] == c.id
            ],
        }
        for c in corpus["test"]
    ]
    mapping = {"x" + name: name for name in corpus.labels}
    expected = score_predictions(write(lines), corpus).scores
    assert score_predictions(write([c for c in chats if c["utterances"]]), corpus, mapping=mapping).scores == expected


def test_a_number_is_read_as_an_id(corpus, lines, write):
    numbers = [line | {"utterance": int(line["utterance"])} for line in lines]
    assert score_predictions(write(numbers), corpus).scores == score_predictions(write(lines), corpus).scores


def test_a_map_of_new_names_changes_nothing(corpus, lines, write):
    plain = score_predictions(write(lines), corpus)
    theirs = [
        line
        | {
            "predicted": f"X{line['predicted']}",
            "probabilities": {f"X{k}": p for k, p in line["probabilities"].items()},
        }
        for line in lines
    ]
    mapped = score_predictions(write(theirs), corpus, mapping={f"X{name}": name for name in corpus.labels})
    assert score_record(mapped) == score_record(plain)


def test_a_map_adds_up_the_probabilities_of_what_it_merges(corpus, lines, write):
    merged = {"calm": "calm", "glad": "glad", corpus.labels.names[2]: "glad"}
    scored = score_predictions(write(lines), corpus, mapping=merged)
    assert scored.unreached == (corpus.labels.names[2],)
    assert scored.scores.f1[2] == 0
    by_hand = []
    for line in (line for line in lines if line["emotion"]):
        p = line["probabilities"]["calm"]
        by_hand.append((max(p, 1 - p), (("calm" if p > 0.5 else "glad") == line["emotion"])))
    confidence, right = np.array(by_hand).T
    bins = np.ceil(confidence * 15)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    assert scored.ece == pytest.approx(100 * sum(gaps) / len(right))
    assert any("map" in note for note in score_tables(scored)[0].notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ls: ls[:-1], r"1 labelled utterance has no prediction, first conversation c8, utterance 2"),
        (lambda ls: [*ls, ls[3]], r"line \d+, conversation c1, utterance \d: this utterance stands on line 4 too"),
        (
            lambda ls: [*ls, ls[0] | {"conversation": "new"}],
            r"conversation new, utterance 0: there is no such utterance",
        ),
        (lambda ls: [ls[0] | {"predicted": "bored"}, *ls[1:]], r"line 1, conversation c0.*unknown emotion 'bored'"),
        (lambda ls: [{"predicted": "calm"}, *ls[1:]], r"line 1: it is no prediction \(conversation: Field required\)"),
        (lambda ls: [ls[0] | {"probabilities": {"calm": 0.5}}, *ls[1:]], r"line 1.*add up to 1"),
        (lambda ls: [[], *ls[1:]], r"line 1: it is no prediction"),
    ],
)
def test_what_is_at_fault_is_named(corpus, lines, write, change, message):
    with pytest.raises(DataError, match=message):
        score_predictions(write(change(lines)), corpus)


def test_a_map_that_does_not_fit_is_refused(corpus, lines, write, tmp_path):
    with pytest.raises(DataError, match="the map does not say what 'glad' is called"):
        score_predictions(write([line | {"predicted": "glad"} for line in lines]), corpus, mapping={"calm": "calm"})
    with pytest.raises(DataError, match=r"--map, calm: unknown emotion 'joy'"):
        score_predictions(write(lines), corpus, mapping={"calm": "joy"})
    for content in ("- a\n", "", "a: [b]\n", "a: {b: c}\n", "a: 'b\n", "\x00"):
        (tmp_path / "map.yaml").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"map\.yaml"):
            read_map(tmp_path / "map.yaml")


def test_a_map_is_read_as_names_whatever_they_look_like(tmp_path):
    (tmp_path / "map.yaml").write_text("no: yes\n1: 2.0\nnull: joy\n", encoding="utf-8")
    assert read_map(tmp_path / "map.yaml") == {"no": "yes", "1": "2.0", "null": "joy"}
    (tmp_path / "map.json").write_text('{"happy": "joy"}', encoding="utf-8")
    assert read_map(tmp_path / "map.json") == {"happy": "joy"}


def test_the_published_row_stands_beside_predictions_on_a_known_data_set(shared_data, write):
    corpus = load_corpus("meld", shared_data)
    turns = [(c.id, u) for c in corpus["test"] for u in c.utterances]
    scored = score_predictions(
        write([{"conversation": c, "utterance": u.id, "predicted": u.emotion} for c, u in turns]), corpus
    )
    assert scored.scores.weighted_f1 == 100
    figures, classes = score_tables(scored)
    assert ["published, mean", "67.51", "66.45", "50.76"] in [list(row) for row in figures.rows]
    assert "RoBERTa-large" in " ".join(figures.notes)
    assert classes.rows[2][-1] == "26.23"
