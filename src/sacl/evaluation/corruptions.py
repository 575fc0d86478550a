"""Damage that conversations come with: speakers lost, earlier turns missing, turns out of order, typing errors.

Every function is deterministic by its seed, and a conversation's damage does not depend on the other conversations.
Draws are shared between strengths: whatever is damaged at one strength is damaged at every greater one.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sacl.conversation import Conversation
from sacl.model.batch import UNLABELLED, ConversationItem

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    key: "".join(row[max(i - 1, 0) : i] + row[i + 1 : i + 2]) for row in _KEYBOARD for i, key in enumerate(row)
}


def speakers_lost(items: Sequence[ConversationItem], share: float, seed: int = 0) -> list[ConversationItem]:
    """A share of the turns has no speaker label any more; all of these count as one unknown speaker.

    Args:
        share: from 0 to 1; at 1 a conversation has one speaker.
    """
    return [
        replace(item, speakers=np.where(_draws(item, seed) < share, item.speakers.max() + 1, item.speakers))
        for item in items
    ]


def turns_missing(items: Sequence[ConversationItem], seen: int) -> list[ConversationItem]:
    """Of what came before a turn only the last `seen - 1` turns are there, so that `seen` end with the turn itself.

    Later turns stay, as the model may read them: with `seen` at least the length of a conversation all is as before.
    A conversation becomes several, one a turn that loses something; every label stands in exactly one of them, on the
    turn that is to be named there, and the other turns are context.

    Args:
        seen: at least 1.
    """
    return [part for item in items for part in _windows(item, seen)]


def shuffled(items: Sequence[ConversationItem], reach: int, seed: int = 0) -> list[ConversationItem]:
    """Turns out of order, with their speakers and labels: each is moved by at most `reach` places.

    Args:
        reach: at 0 all is as before.
    """
    results = []
    for item in items:
        # A turn is overtaken only by turns whose place is less than reach + 1 behind its own.
        order = np.argsort(np.arange(len(item.labels)) + (reach + 1) * _draws(item, seed), kind="stable")
        results.append(
            replace(item, features=item.features[order], speakers=item.speakers[order], labels=item.labels[order])
        )
    return results


def mistyped(conversations: Sequence[Conversation], rate: float, seed: int = 0) -> list[Conversation]:
    """The same conversations with typing errors in every text; see `typing_errors`. They must be encoded again."""
    return [
        Conversation(
            c.id,
            [u if u.text is None else replace(u, text=typing_errors(u.text, rate, seed)) for u in c.utterances],
        )
        for c in conversations
    ]


def typing_errors(text: str, rate: float, seed: int = 0) -> str:
    """A text as someone in a hurry types it.

    A letter that is hit is left out, doubled, swapped with the letter that follows it, or replaced by its neighbour on
    the keyboard, each as likely as the others; at a word's end it is doubled in place of swapped. Digits, signs and
    blanks are never touched.

    Args:
        rate: share of the letters that are hit, from 0 to 1.
        seed: with the text it decides which letters.

    >>> typing_errors("We could leave at noon.", 0.2)
    'eWW could leave aat noon.'
    """
    draws = random.Random(f"{seed} {text}".encode("utf-8", "surrogatepass"))
    left = list(text)
    typed = []
    for i, letter in enumerate(text):
        hit, kind, side = draws.random() < rate and letter.isalpha(), draws.randrange(4), draws.randrange(2)
        swappable = text[i + 1 : i + 2].isalpha()
        if hit and kind == 0 and swappable:
            left[i], left[i + 1] = left[i + 1], left[i]
        typed.append(left[i])
        if hit and (kind == 1 or (kind == 0 and not swappable)):
            typed.append(left[i])
        elif hit and kind == 2:
            typed[-1] = _beside(left[i], side)
        elif hit and kind == 3:
            typed.pop()
    return "".join(typed)


def _beside(letter: str, side: int) -> str:
    """A neighbour of the letter's key; a letter that is on no key of ours stays."""
    keys = _NEIGHBOURS.get(letter.lower(), letter)
    key = keys[side % len(keys)]
    return key.upper() if letter.isupper() else key


def _windows(item: ConversationItem, seen: int) -> Iterator[ConversationItem]:
    first = np.where(np.arange(len(item.labels)) < seen, item.labels, UNLABELLED)
    yield replace(item, labels=first)
    for start in range(1, len(item.labels) - seen + 1):
        named = start + seen - 1
        if item.labels[named] != UNLABELLED:
            labels = np.full(len(item.labels) - start, UNLABELLED)
            labels[seen - 1] = item.labels[named]
            yield ConversationItem(f"{item.id} from {start}", item.features[start:], item.speakers[start:], labels)


def _draws(item: ConversationItem, seed: int) -> np.ndarray:
    """A number in [0, 1) a turn, shape (utterances,)."""
    return np.random.default_rng([seed, zlib.crc32(item.id.encode("utf-8", "surrogatepass"))]).random(len(item.labels))
