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
- Unlabelled turns, a quarter, are left out of the pickles, and so by default here: neighbours in a conversation may
  have had a turn between them. `keep_unlabelled` keeps them as context.
- There is no published validation split. `by-seed` draws 12 conversations, the released code's protocol; features
  that were fine-tuned on all of sessions 1-4 have then seen the validation labels, so validation scores are too high.
- Scripted conversations repeat the same three scripts in every session: test scripts are known from training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets.reading import Counts, check_counts, emotion, lines
from sacl.errors import DataError, place

LABELS = LabelSet(("happy", "sad", "neutral", "angry", "excited", "frustrated"))
EXPECTED: Counts = {"train+valid": (120, 5758), "test": (31, 1622)}
SESSIONS = tuple(f"Session{n}" for n in range(1, 6))
Validation = Literal["by-seed", "fixed"]
VALIDATION_SIZE = 12

_CODES = dict(zip(("hap", "sad", "neu", "ang", "exc", "fru"), LABELS, strict=True))
_UNLABELLED = dict.fromkeys(("xxx", "sur", "fea", "dis", "oth"), "")
_EVALUATION = re.compile(r"\[(\d+\.\d+) - \d+\.\d+\]\s+(\S+_([MF])\d+)\s+(\w+)\s")
_TRANSCRIPT = re.compile(r"(\S+_[MF]\d+)\s+\[[\d.]+-[\d.]+\]:\s*(.*\S)")


def read(
    folder: Path,
    seed: int = 0,
    validation: Validation = "by-seed",
    keep_unlabelled: bool = False,
    expected: Counts | None = EXPECTED,
) -> Corpus:
    """The raw release: sessions 1-4 are train and valid, session 5 is test.

    Args:
        folder: holds Session1 to Session5.
        seed: draws the validation conversations.
        validation: `by-seed`: the ids of sessions 1-4, sorted, are shuffled by NumPy's `RandomState(seed)`, and the
            first 12 are valid. `fixed`: the last 12 of the sorted ids, our own choice: no fixed split is published.
        keep_unlabelled: keep turns without one of the six labels, as context.
        expected: what the counts of labelled utterances are checked against; None for a part of the data.

    Raises:
        DataError: a file that is missing or damaged, or other counts than expected.
    """
    if validation not in get_args(Validation):
        raise DataError(
            f"unknown validation split {validation!r}", remedy=f"Use one of: {', '.join(get_args(Validation))}"
        )
    known = {c.id: c for session in SESSIONS[:4] for c in _session(folder / session, keep_unlabelled)}
    ids = sorted(known)
    held = ids[::-1]
    if validation == "by-seed":
        held = list(ids)
        np.random.RandomState(seed).shuffle(held)
    valid = set(held[:VALIDATION_SIZE])
    splits = {
        "train": [known[id] for id in ids if id not in valid],
        "valid": [known[id] for id in ids if id in valid],
        "test": sorted(_session(folder / SESSIONS[4], keep_unlabelled), key=lambda c: c.id),
    }
    check_counts("iemocap", splits, expected)
    return Corpus("iemocap", LABELS, splits)


def four_classes(corpus: Corpus) -> Corpus:
    """IEMOCAP-4: without the utterances labelled excited or frustrated, which are then no context either."""
    labels = LabelSet(LABELS.names[:4])
    splits = {}
    for split in corpus.splits:
        kept = ((c.id, [u for u in c.utterances if u.emotion in (*labels, None)]) for c in corpus[split])
        splits[split] = [Conversation(id, turns) for id, turns in kept if turns]
    return Corpus("iemocap-4", labels, splits)


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
