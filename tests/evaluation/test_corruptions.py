from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sacl.conversation import Conversation, Utterance
from sacl.evaluation.corruptions import mistyped, shuffled, speakers_lost, turns_missing, typing_errors
from sacl.model.batch import UNLABELLED, ConversationItem


def item(length=7, id="c", speakers=3, labels=None):
    """Features name their turn, so that what moved where can be read from them."""
    turns = np.arange(length)
    labels = turns + 10 if labels is None else np.asarray(labels)
    return ConversationItem(id, torch.arange(length)[:, None].float(), turns % speakers, labels)


def turns(part):
    return part.features[:, 0].int().tolist()


@given(st.integers(1, 20), st.integers(0, 8), st.integers(0, 100))
def test_a_shuffled_turn_keeps_its_speaker_and_label_and_moves_at_most_so_far(length, reach, seed):
    before = item(length)
    (after,) = shuffled([before], reach, seed)
    order = np.array(turns(after))
    assert sorted(order) == list(range(length))
    assert np.abs(order - np.arange(length)).max() <= reach
    assert (after.speakers == before.speakers[order]).all()
    assert (after.labels == before.labels[order]).all()


def test_shuffling_disturbs_more_with_greater_reach():
    moved = [
        np.mean([turns(shuffled([item(30)], reach, s)[0]) != np.arange(30) for s in range(20)]) for reach in (0, 1, 8)
    ]
    assert moved[0] == 0 < moved[1] < moved[2]


@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1), st.integers(0, 100))
def test_speakers_lost_at_one_share_are_lost_at_every_greater_one(length, a, b, seed):
    before = item(length)
    few, many = (speakers_lost([before], share, seed)[0].speakers == 3 for share in sorted((a, b)))
    if length >= 3:  # then all three speakers speak, and 3 is the unknown one
        assert not (few & ~many).any()
        kept = speakers_lost([before], a, seed)[0].speakers
        assert (kept[kept != 3] == before.speakers[kept != 3]).all()


def test_no_speaker_is_lost_at_none_and_all_are_one_at_all():
    before = item(9)
    assert (speakers_lost([before], 0)[0].speakers == before.speakers).all()
    assert len(set(speakers_lost([before], 1)[0].speakers)) == 1


def test_damage_does_not_depend_on_the_other_conversations():
    alone, other = item(9, "a"), item(5, "b")
    for damage in (lambda items: speakers_lost(items, 0.5), lambda items: shuffled(items, 3)):
        (first,), (_, second) = damage([alone]), damage([other, alone])
        assert (first.speakers == second.speakers).all()
        assert turns(first) == turns(second)
    assert turns(shuffled([item(9, "a")], 3)[0]) != turns(shuffled([item(9, "b")], 3)[0])


@given(st.integers(1, 12), st.integers(1, 14), st.data())
def test_every_label_is_asked_for_once_with_so_many_turns_up_to_it(length, seen, data):
    labels = np.array(data.draw(st.lists(st.sampled_from([0, 1, UNLABELLED]), min_size=length, max_size=length)))
    before = item(length, labels=labels)
    found = {}
    for part in turns_missing([before], seen):
        for position in np.flatnonzero(part.labels != UNLABELLED):
            turn = turns(part)[position]
            assert turn not in found
            found[turn] = part.labels[position]
            start = max(0, turn - seen + 1)
            assert turns(part) == list(range(start, length))
            assert (part.speakers == before.speakers[start:]).all()
    assert found == {i: labels[i] for i in range(length) if labels[i] != UNLABELLED}


def test_with_enough_turns_seen_nothing_is_missing():
    before = item(5)
    (after,) = turns_missing([before], 5)
    assert turns(after) == turns(before)
    assert (after.labels == before.labels).all()


@given(st.text(), st.integers(0, 5))
def test_no_errors_at_rate_none(text, seed):
    assert typing_errors(text, 0, seed) == text


@given(st.text(), st.floats(0, 1), st.integers(0, 5))
def test_what_is_no_letter_is_left_alone_and_the_same_seed_gives_the_same_text(text, rate, seed):
    typed = typing_errors(text, rate, seed)
    assert [c for c in typed if not c.isalpha()] == [c for c in text if not c.isalpha()]
    assert typing_errors(text, rate, seed) == typed


def test_half_a_surrogate_pair_does_no_harm():
    assert typing_errors("\ud83d so", 0) == "\ud83d so"


def test_more_errors_at_a_greater_rate_and_about_as_many_as_asked():
    text = "the quick brown fox jumps over the lazy dog " * 40
    words = text.split()

    def share(rate):
        return np.mean([a != b for a, b in zip(words, typing_errors(text, rate).split(), strict=False)])

    # A word of n letters stays whole with (1 - rate)^n: with these words, .66 of them at .1.
    assert share(0.02) < share(0.1) < share(0.4)
    assert share(0.1) == pytest.approx(1 - np.mean([0.9 ** len(w) for w in words]), abs=0.08)


def test_every_kind_of_error_occurs_and_letters_keep_their_case():
    typed = {typing_errors("Hg", 0.5, seed) for seed in range(300)}
    assert {"H", "g", "HHg", "gH", "Hgg", "Hf", "Hh", "Gg", "Jg"} <= typed


def test_mistyped_changes_texts_alone():
    before = Conversation("c", [Utterance("Ann", "Where were you?", "anger"), Utterance("Bo", vector=np.ones(2))])
    (after,) = mistyped([before], 1.0)
    assert after.utterances[0].text not in (None, "Where were you?")
    assert (after.utterances[0].speaker, after.utterances[0].emotion) == ("Ann", "anger")
    assert after.utterances[1] is before.utterances[1]
