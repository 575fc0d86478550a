"""IEMOCAP: 151 conversations of two actors each, improvised or scripted; six emotions.

| labelled, in the raw release | train+valid (sessions 1-4) | test (session 5) |
|---|---|---|
| conversations | 120 | 31 |
| utterances | 5,758 | 1,622 |
| happy | 452 | 143 |
| sad | 839 | 245 |
| neutral | 1,324 | 384 |
| angry | 933 | 170 |
| excited | 742 | 299 |
| frustrated | 1,468 | 381 |

Labels in index order: happy sad neutral angry excited frustrated, from hap sad neu ang exc fru. The other five (sur
fea dis oth, and xxx where the judges did not agree) are unlabelled; 2,659 of all 10,039 turns. These counts are as
others published them: the release itself was not at hand when this reader was written.

Citation: Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan, "IEMOCAP: Interactive emotional dyadic
motion capture database", Language Resources and Evaluation 42, 2008. Licence: for research, by signed agreement; ask
at https://sail.usc.edu/iemocap/iemocap_release.htm. It is not downloaded for you.

Read from `SessionN/dialog/EmoEvaluation/Ses*.txt` (turns, times, labels) and
`SessionN/dialog/transcriptions/Ses*.txt` (texts). Turns stand by their start time. Speakers are M and F, from the
turn's name: in a file `Ses01F_...` too, both speak.

Known defects:
- The pickles that the published rows used hold 7,433 utterances, the raw release 7,380 of these labels. All of the 53
  more are labelled happy (648 against 595), one of them in test; where they come from is not documented. For those
  rows read the pickles.
- IEMOCAP-4 (`iemocap-4`) leaves out the utterances labelled excited or frustrated; they are no context either. The
  pickles give 3,600 utterances in train+valid and 943 in test (happy 144, sad 245, neutral 384, angry 170), the raw
  release 3,548 and 942. Another study merges excited into happy and frustrated into sad: that is another task.
- Unlabelled turns, a quarter, are left out of the pickles, and so by default here: neighbours in a conversation may
  have had a turn between them. `keep_unlabelled` keeps them as context.
- There is no published validation split. `by-seed` draws 12 conversations, the released code's protocol; features
  that were fine-tuned on all of sessions 1-4 have then seen the validation labels, so validation scores are too high.
- Scripted conversations repeat the same three scripts in every session: test scripts are known from training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets.reading import Counts, check_choice, check_counts, emotion, lines
from sacl.errors import DataError, place

LABELS = LabelSet(("happy", "sad", "neutral", "angry", "excited", "frustrated"))
EXPECTED: Counts = {"train+valid": (120, 5758), "test": (31, 1622)}
SESSIONS = tuple(f"Session{n}" for n in range(1, 6))
Validation = Literal["by-seed", "fixed"]
VALIDATION_SIZE = 12
FOUR = LabelSet(LABELS.names[:4])
FOUR_EXPECTED: Counts = {"train+valid": (120, 3548), "test": (31, 942)}
"""IEMOCAP-4, in the raw release."""
PICKLED: Counts = {"train+valid": (120, 5810), "test": (31, 1623)}
"""In the pickles in circulation."""
FOUR_PICKLED: Counts = {"train+valid": (120, 3600), "test": (31, 943)}
FOUR_TEST = dict(zip(FOUR, (144, 245, 384, 170), strict=True))
"""Utterances by label in the test split of IEMOCAP-4, from the pickles."""

_CODES = dict(zip(("hap", "sad", "neu", "ang", "exc", "fru"), LABELS, strict=True))
_UNLABELLED = dict.fromkeys(("xxx", "sur", "fea", "dis", "oth"), "")
_EVALUATION = re.compile(r"\[(\d{1,9}\.\d{1,9}) - \d+\.\d+\]\s+(\S+_([MF])\d+)\s+(\w+)\s")
_TRANSCRIPT = re.compile(r"(\S+_[MF]\d+)\s+\[[\d.]+-[\d.]+\]:\s*(.*\S)")


def read(
    folder: Path,
    seed: int = 0,
    validation: Validation = "by-seed",
    keep_unlabelled: bool = False,
    expected: Counts | None = EXPECTED,
    test_session: int = 5,
) -> Corpus:
    """The raw release: sessions 1-4 are train and valid, session 5 is test, or as `test_session` has it.

    Args:
        folder: holds Session1 to Session5.
        seed: draws the validation conversations.
        validation: `by-seed`: the ids of the other sessions, sorted, are shuffled by NumPy's `RandomState(seed)`, and
            the first 12 are valid. `fixed`: the last 12 of the sorted ids, our own choice: no fixed split is published.
        keep_unlabelled: keep turns without one of the six labels, as context.
        expected: what the counts of labelled utterances are checked against; None for a part of the data. With
            another test session the whole is checked.
        test_session: 1 to 5, for leave-one-session-out; both actors of a session are in no other.

    Raises:
        DataError: a file that is missing or damaged, or other counts than expected.
    """
    check_choice("validation split", validation, get_args(Validation))
    if test_session not in range(1, 6):
        raise DataError(f"there is no session {test_session}", where="test_session", remedy="Use 1 to 5")
    sessions = {name: list(_session(folder / name, keep_unlabelled)) for name in SESSIONS}
    tested = sessions.pop(SESSIONS[test_session - 1])
    known = {c.id: c for session in sessions.values() for c in session}
    ids = sorted(known)
    held = ids[::-1]
    if validation == "by-seed":
        held = list(ids)
        np.random.RandomState(seed).shuffle(held)
    valid = set(held[:VALIDATION_SIZE])
    splits = {
        "train": [known[id] for id in ids if id not in valid],
        "valid": [known[id] for id in ids if id in valid],
        "test": sorted(tested, key=lambda c: c.id),
    }
    if test_session != 5 and expected is EXPECTED:
        expected = {"train+valid+test": tuple(map(sum, zip(*EXPECTED.values(), strict=True)))}  # type: ignore[dict-item]
    check_counts("iemocap", splits, expected)
    return Corpus("iemocap", LABELS, splits)


def four_classes(corpus: Corpus) -> Corpus:
    """IEMOCAP-4: without the utterances labelled excited or frustrated, which are then no context either."""
    splits = {}
    for split in corpus.splits:
        kept = ((c.id, [u for u in c.utterances if u.emotion in (*FOUR, None)]) for c in corpus[split])
        splits[split] = [Conversation(id, turns) for id, turns in kept if turns]
    return Corpus("iemocap-4", FOUR, splits)


def read_four(folder: Path, expected: Counts | None = FOUR_EXPECTED, **options: Any) -> Corpus:
    """IEMOCAP-4 from the raw release; options and errors as of `read`."""
    corpus = four_classes(read(folder, expected=None, **options))
    if options.get("test_session", 5) != 5 and expected is FOUR_EXPECTED:
        expected = None
    check_counts("iemocap-4", corpus.splits, expected)
    return corpus


def check_four_pickled(corpus: Corpus) -> None:
    """Raise a DataError where IEMOCAP-4 from the whole of the pickles has other counts than the published ones."""
    check_counts("iemocap-4", corpus.splits, FOUR_PICKLED)
    found = Counter(u.emotion for u in corpus.utterances("test"))
    for label, expected in FOUR_TEST.items():
        if found[label] != expected:
            raise DataError(
                f"found {found[label]} utterances labelled {label}, expected {expected}",
                where="iemocap-4, split test",
                remedy="Get the file again, or import it as iemocap",
            )


def _session(folder: Path, keep_unlabelled: bool) -> Iterator[Conversation]:
    dialogs = folder / "dialog"
    # The release holds files of macOS beside its own, named ._Ses*.txt.
    evaluations = sorted((dialogs / "EmoEvaluation").glob("Ses*.txt"))
    if not evaluations:
        raise DataError(
            "there is no EmoEvaluation/Ses*.txt",
            where=str(dialogs),
            remedy="Give the folder of the IEMOCAP release that holds Session1 to Session5",
        )
    for path in evaluations:
        turns = _turns(path, _texts(dialogs / "transcriptions" / path.name), keep_unlabelled)
        if turns:
            yield Conversation(path.stem, turns)


def _texts(path: Path) -> dict[str, str]:
    """Texts by turn. Lines that are no turn, such as `M: ...` and turns counted as XX, are passed over."""
    matches = (_TRANSCRIPT.match(line) for _, line in lines(path))
    return {match[1]: match[2] for match in matches if match}


def _turns(path: Path, texts: dict[str, str], keep_unlabelled: bool) -> list[Utterance]:
    turns = []
    for n, line in lines(path):
        match = _EVALUATION.match(line)
        if not match:
            continue
        start, id, speaker, code = match.groups()
        label = emotion(code, _CODES | _UNLABELLED, path, n) or None
        if label is None and not keep_unlabelled:
            continue
        if id not in texts:
            raise DataError(
                "it is not in the transcription",
                where=place(file=path, line=n, utterance=id),
                remedy="Copy dialog/transcriptions from the release again",
            )
        turns.append(Utterance(speaker, texts[id], label, id, float(start)))
    return sorted(turns, key=lambda turn: turn.time or 0.0)
