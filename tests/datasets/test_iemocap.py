"""IEMOCAP: read from a small release made up here, in the form of the licensed one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacl.conversation import Corpus
from sacl.datasets import iemocap, load_corpus
from sacl.errors import DataError

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[3.5000 - 6.0000]\t{id}_M000\tfru\t[2.0000, 3.0000, 3.5000]
C-E2:\tFrustration;\t()
A-E3:\tval 2; act 3; dom  3;\t()

[1.2500 - 2.5000]\t{id}_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()

[10.0000 - 12.0000]\t{id}_F001\txxx\t[2.5000, 2.5000, 2.5000]

[14.0000 - 15.0000]\t{id}_M001\thap\t[4.0000, 3.0000, 2.0000]
"""
TRANSCRIPT = """{id}_F000 [001.2500-002.5000]: Where did you put it?
{id}_M000 [003.5000-006.0000]: On the shelf: as always.
M: [mumbles]
{id}_MXX0 [007.0000-008.0000]: Hm.
{id}_F001 [010.0000-012.0000]: It isn\x92t there.
{id}_M001 [014.0000-015.0000]: Oh, here it is!
"""


def dialog(root: Path, session: int, name: str, evaluation: str = EVALUATION, transcript: str = TRANSCRIPT) -> None:
    id = f"Ses{session:02}{name}"
    for folder, text in (("EmoEvaluation", evaluation), ("transcriptions", transcript)):
        path = root / f"Session{session}" / "dialog" / folder / f"{id}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.format(id=id).encode("cp1252" if folder == "transcriptions" else "ascii", "replace"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for session in range(1, 6):
        for name in ("F_impro01", "M_impro02", "F_script01_1", "M_script02_1b"):
            dialog(tmp_path, session, name, transcript=TRANSCRIPT.replace("\x92", "’"))
        beside = tmp_path / f"Session{session}" / "dialog" / "EmoEvaluation"
        (beside / "._Ses01F_impro01.txt").write_bytes(b"\0\5\x16\7")
        (beside / "Categorical").mkdir()
    return tmp_path


def ids(corpus: Corpus, split: str) -> list[str]:
    return [c.id for c in corpus[split]]


def test_turns_stand_by_their_time_with_text_speaker_and_label(release: Path) -> None:
    corpus = iemocap.read(release, expected=None)
    chat = next(c for c in corpus["test"] if c.id == "Ses05M_script02_1b")
    assert [(u.id[-4:], u.speaker, u.text, u.emotion, u.time) for u in chat.utterances] == [
        ("F000", "F", "Where did you put it?", "neutral", 1.25),
        ("M000", "M", "On the shelf: as always.", "frustrated", 3.5),
        ("M001", "M", "Oh, here it is!", "happy", 14.0),
    ]


def test_unlabelled_turns_are_kept_as_context_when_asked_for(release: Path) -> None:
    corpus = iemocap.read(release, keep_unlabelled=True, expected={"train+valid": (16, 48), "test": (4, 12)})
    assert [(u.text, u.emotion) for u in corpus["test"][0].utterances][2] == ("It isn’t there.", None)
    assert {len(c) for c in corpus["train"]} == {4}


def test_session_5_is_test_and_the_first_12_of_the_shuffled_ids_are_valid(release: Path) -> None:
    corpus = iemocap.read(release, seed=3, expected=None)
    assert {id[:5] for id in ids(corpus, "test")} == {"Ses05"}
    drawn = sorted(ids(corpus, "train") + ids(corpus, "valid"))
    assert len(drawn) == 16
    np.random.RandomState(3).shuffle(drawn)
    assert set(ids(corpus, "valid")) == set(drawn[:12])


def test_the_seed_draws_the_validation_split_and_nothing_else_does(release: Path) -> None:
    np.random.seed(0)
    one = iemocap.read(release, seed=1, expected=None)
    np.random.seed(1)
    assert iemocap.read(release, seed=1, expected=None).fingerprint() == one.fingerprint()
    assert ids(iemocap.read(release, seed=2, expected=None), "valid") != ids(one, "valid")
    assert ids(iemocap.read(release, seed=2, expected=None), "test") == ids(one, "test")


def test_the_fixed_split_holds_the_last_12_whatever_the_seed(release: Path) -> None:
    for seed in (0, 1):
        corpus = iemocap.read(release, seed=seed, validation="fixed", expected=None)
        everything = sorted(ids(corpus, "train") + ids(corpus, "valid"))
        assert ids(corpus, "valid") == everything[-12:]


def test_iemocap_4_drops_excited_and_frustrated_turns_from_the_context_too(release: Path) -> None:
    corpus = iemocap.four_classes(iemocap.read(release, expected=None))
    assert corpus.labels.names == ("happy", "sad", "neutral", "angry")
    assert {tuple(u.emotion for u in c.utterances) for c in corpus["train"]} == {("neutral", "happy")}


def test_iemocap_4_is_read_by_name_and_its_own_counts_are_expected(release: Path) -> None:
    corpus = load_corpus("iemocap-4", release, expected=None, validation="fixed")
    assert (corpus.name, corpus.labels) == ("iemocap-4", iemocap.FOUR)
    assert {u.emotion for u in corpus.utterances()} == {"neutral", "happy"}
    with pytest.raises(
        DataError, match=r"iemocap-4, split train\+valid: found 16 .* with 32 .*, expected 120 with 3548"
    ):
        load_corpus("iemocap-4", release)
    with pytest.raises(DataError, match="iemocap-4 has no option 'joint'"):
        load_corpus("iemocap-4", release, joint="own")
    named = release / "data"
    named.mkdir()
    (named / "iemocap").symlink_to(release, target_is_directory=True)
    assert load_corpus("iemocap-4", named, expected=None)["test"] == corpus["test"]


@pytest.mark.parametrize("session", [1, 2, 3, 4, 5])
def test_any_session_may_be_the_one_tested_on(release: Path, session: int) -> None:
    corpus = iemocap.read(release, test_session=session, expected=None)
    assert {id[:5] for id in ids(corpus, "test")} == {f"Ses{session:02}"}
    assert {id[:5] for id in ids(corpus, "train")} <= {f"Ses{n:02}" for n in range(1, 6) if n != session}
    assert [len(corpus[split]) for split in ("train", "valid", "test")] == [4, 12, 4]


def test_leaving_out_another_session_checks_the_whole(release: Path) -> None:
    with pytest.raises(DataError, match=r"split train\+valid\+test: found 20 .* with 60 .* expected 151 with 7380"):
        iemocap.read(release, test_session=2)
    with pytest.raises(DataError, match="there is no session 6"):
        iemocap.read(release, test_session=6)


def test_the_published_counts_are_expected(release: Path) -> None:
    with pytest.raises(DataError, match=r"split train\+valid: found 16 .* with 48 .*, expected 120 with 5758"):
        iemocap.read(release)


def test_the_counts_of_the_card_add_up() -> None:
    table = [line.split("|")[1:4] for line in iemocap.__doc__.splitlines() if line[:1] == "|"]
    counts = {name.strip(): (train.strip(), test.strip()) for name, train, test in table[2:]}
    number = {name: [int(n.replace(",", "")) for n in pair] for name, pair in counts.items()}
    for i, split in enumerate(("train+valid", "test")):
        assert iemocap.EXPECTED[split] == (number["conversations"][i], number["utterances"][i])
        assert sum(number[label][i] for label in iemocap.LABELS) == number["utterances"][i]


def test_a_labelled_turn_without_text_is_placed(release: Path) -> None:
    dialog(release, 1, "F_impro01", transcript=TRANSCRIPT.replace("{id}_M001", "M"))
    with pytest.raises(
        DataError, match=r"Ses01F_impro01\.txt, line 12, utterance Ses01F_impro01_M001: .*transcription"
    ):
        iemocap.read(release, expected=None)


def test_an_unknown_label_is_placed(release: Path) -> None:
    dialog(release, 1, "F_impro01", evaluation=EVALUATION.replace("hap", "joy"))
    with pytest.raises(DataError, match=r"Ses01F_impro01\.txt, line 12: unknown emotion 'joy'"):
        iemocap.read(release, expected=None)


def test_a_folder_that_is_not_the_release_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Session1.dialog: there is no EmoEvaluation.*Session1 to Session5"):
        iemocap.read(tmp_path)


def test_an_unknown_validation_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown validation split 'random'\. Use one of: by-seed, fixed"):
        iemocap.read(tmp_path, validation="random")  # type: ignore[arg-type]
