"""What every model keeps: independence of company, causality, reproducible dropout, targets that move the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sacl.adversary import perturbed, points_of
from sacl.conversation import LabelSet
from sacl.model.batch import ConversationBatch, ConversationItem, collate
from sacl.model.build import MODELS
from sacl.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from sacl.training.fit import Fit
from sacl.training.objective import SACL, Forward

KINDS = list(MODELS)
BASELINES = [kind for kind in KINDS if kind != "dual_lstm"]
IN_CONTEXT = [kind for kind in KINDS if kind != "linear"]
WIDTH, CLASSES = 6, 3


def conversation(speakers: list[int], seed: int = 0, id: str = "c") -> ConversationItem:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(speakers), WIDTH, generator=generator, dtype=torch.float64)
    return ConversationItem(id, features, np.array(speakers), np.arange(len(speakers)) % CLASSES)


# Of several lengths, with one, two and four speakers, turns that repeat, and a conversation of a single turn.
CONVERSATIONS = [
    conversation([0, 1, 0, 0, 1, 0], 1, "two"),
    conversation([3, 1, 2, 0, 3, 3, 2], 2, "four"),
    conversation([5], 3, "single"),
    conversation([0, 0, 0, 0], 4, "monologue"),
]


def model(kind: str, **options: object) -> nn.Module:
    """Small, in double precision, and with no parameter at a special value."""
    torch.manual_seed(7)
    built = MODELS[kind](WIDTH, CLASSES, **({"hidden_size": 8, "dropout": 0.3} | options)).double().eval()
    with torch.no_grad():
        for p in built.parameters():
            p.add_(0.3 * torch.randn(p.shape, dtype=p.dtype))
    return built


def scores(network: nn.Module, items: list[ConversationItem]) -> dict[str, Tensor]:
    batch = collate(items)
    parts = network(batch).log_probabilities.split(batch.lengths)
    return {item.id: part.detach() for item, part in zip(items, parts, strict=True)}


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_depend_on_nothing_but_the_conversation(kind: str, bidirectional: bool) -> None:
    network = model(kind, bidirectional=bidirectional, layers=2)
    alone = {item.id: scores(network, [item])[item.id] for item in CONVERSATIONS}
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0], [1, 3, 0]):
        together = scores(network, [CONVERSATIONS[i] for i in order])
        assert all(close(found, alone[id]) for id, found in together.items())


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_probabilities_and_hidden_states_stand_beside_them(kind: str) -> None:
    output = model(kind)(collate(CONVERSATIONS))
    assert close(output.log_probabilities.exp().sum(dim=1), torch.ones(18, dtype=torch.float64))
    assert output.hidden.shape[0] == 18


@pytest.mark.parametrize("kind", KINDS)
def test_speaker_numbers_mean_nothing(kind: str) -> None:
    network = model(kind)
    item = CONVERSATIONS[1]
    renamed = ConversationItem(item.id, item.features, np.array([7, 9, 0, 4])[item.speakers], item.labels)
    assert close(scores(network, [item])["four"], scores(network, [renamed])["four"])


@pytest.mark.parametrize("kind", KINDS)
def test_who_speaks_counts_where_a_model_reads_speakers(kind: str) -> None:
    network = model(kind)
    item = CONVERSATIONS[1]
    merged = ConversationItem(item.id, item.features, np.minimum(item.speakers, 1), item.labels)
    moved = not close(scores(network, [item])["four"], scores(network, [merged])["four"], 1e-6)
    assert moved == (kind not in ("linear", "bc_lstm"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_model_sees_no_later_turn(kind: str) -> None:
    item, seen = CONVERSATIONS[1], 4
    features, speakers = item.features.clone(), item.speakers.copy()
    features[seen:] += 1.0
    # The last turns go to a speaker who is heard before, and to a new one.
    speakers[seen:] = [1, 8, 1]
    changed = ConversationItem(item.id, features, speakers, item.labels)
    cut = ConversationItem(item.id, item.features[:seen], item.speakers[:seen], item.labels[:seen])
    # The released rule that a speaker needs two turns in the conversation looks ahead by itself.
    for bidirectional in (False, True):
        network = model(kind, bidirectional=bidirectional, layers=2)
        before, after, alone = (
            network(collate([i], min_speaker_utterances=1)).log_probabilities[:seen] for i in (item, changed, cut)
        )
        blind = close(before, after) and close(before, alone)
        assert blind == (not bidirectional or kind == "linear")


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    network = model(kind, layers=2).train()
    generator = torch.Generator().manual_seed(0)
    output = network(collate(CONVERSATIONS), generator)
    nn.functional.nll_loss(output.log_probabilities, collate(CONVERSATIONS).labels).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_drawn_from_the_generator_and_nowhere_else(kind: str) -> None:
    network = model(kind, layers=2)
    batch = collate(CONVERSATIONS)
    still = network(batch, torch.Generator().manual_seed(1)).log_probabilities
    assert torch.equal(still, network(batch, torch.Generator().manual_seed(2)).log_probabilities)
    network.train()
    state = torch.get_rng_state()
    drawn = [network(batch, torch.Generator().manual_seed(seed)).log_probabilities for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not close(drawn[0], still, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_moving_any_target_moves_the_scores(kind: str) -> None:
    network = model(kind)
    before = scores(network, CONVERSATIONS)
    targets = network.targets()  # type: ignore[operator]
    assert "input" in targets
    assert ("context" in targets) == (kind in IN_CONTEXT)
    for name, target in targets.items():
        for point in points_of(name, target):
            shape = (18, WIDTH) if isinstance(point, nn.Module) else point.shape
            with perturbed([point], [0.5 * torch.randn(shape, dtype=torch.float64)]):
                moved = network(collate(CONVERSATIONS)).log_probabilities.detach()
            assert not close(moved, torch.cat(list(before.values())), 1e-6)
    assert all(torch.equal(after, before[id]) for id, after in scores(network, CONVERSATIONS).items())


@pytest.mark.parametrize("adversary", ["fgm", "pgd", "virtual"])
@pytest.mark.parametrize("kind", BASELINES)
def test_the_objective_runs_on_all_that_a_model_offers(kind: str, adversary: str) -> None:
    network = model(kind).train()
    targets = network.targets()  # type: ignore[operator]
    settings = ObjectiveSettings(adversary={"kind": adversary, "on": list(targets), "shares": {}, "keeps": "all"})
    batch, generator = collate(CONVERSATIONS), torch.Generator().manual_seed(3)
    parameters = [p.detach().clone() for p in network.parameters()]

    def closure() -> Forward:
        output = network(batch, generator)
        return Forward(output.log_probabilities, output.hidden, batch.labels, batch.mask)

    step = SACL(network, targets, settings).backward(closure, 0.5)
    assert step.adversarial is not None
    assert float(step.adversarial.total) != float(step.clean.total)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    assert all(torch.equal(p, before) for p, before in zip(network.parameters(), parameters, strict=True))


def corpus(conversations: int, answers: str, seed: int) -> list[ConversationItem]:
    """An utterance's label is told by its own first number, or by that of the turn before."""
    rng = np.random.default_rng(seed)
    items = []
    for i in range(conversations):
        features = rng.normal(size=(8, WIDTH))
        told = features[:, 0] if answers == "own" else np.concatenate([[-1.0], features[:-1, 0]])
        labels = (told > 0).astype(np.int64)
        items.append(ConversationItem(str(i), torch.from_numpy(features), rng.integers(0, 2, 8), labels))
    return items


def fit(kind: str, answers: str, epochs: int, checkpoint=None, conversations: int = 48) -> Fit:  # type: ignore[no-untyped-def]
    settings = ModelSettings(kind=kind, hidden_size=16, dropout=0.1)
    return Fit(
        lambda: MODELS[kind](WIDTH, 2, hidden_size=16, dropout=0.1),
        corpus(conversations, answers, 0),
        corpus(24, answers, 1),
        LabelSet(("down", "up")),
        settings,
        ObjectiveSettings(adversary={"kind": "none"}, contrastive_weight=0.0, focal_gamma=0.0),
        TrainingSettings(batch_size=8, accumulation=1, learning_rate=1e-2, epochs=epochs, weight_decay=0.0),
        seed=0,
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize("kind", BASELINES)
def test_learns_what_the_turn_before_tells_if_it_has_context(kind: str) -> None:
    epochs = 12 if kind == "transformer" else 5
    accuracy = fit(kind, "before", epochs, conversations=96).run().history[-1]["valid_accuracy"]
    # Always saying `down` gives 57: a first turn has none before it, and counts as down.
    assert (accuracy > 70) == (kind in IN_CONTEXT), accuracy


def test_linear_learns_what_an_utterance_tells_by_itself() -> None:
    assert fit("linear", "own", epochs=10).run().history[-1]["valid_accuracy"] > 90


@pytest.mark.parametrize("kind", BASELINES)
def test_a_run_continues_to_the_same_bits(kind: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = fit(kind, "before", epochs=3, conversations=12).run()
    fit(kind, "before", epochs=1, checkpoint=tmp_path / "c", conversations=12).run()
    continued = fit(kind, "before", epochs=3, checkpoint=tmp_path / "c", conversations=12).run()
    assert continued.history == whole.history
    for a, b in zip(continued.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_batch_numbers_its_speakers_apart() -> None:
    batch: ConversationBatch = collate(CONVERSATIONS)
    places = np.repeat(np.arange(4), batch.lengths)
    pairs = list(zip(places, np.concatenate([i.speakers for i in CONVERSATIONS]), strict=True))
    numbers = batch.speakers.tolist()
    assert len(set(zip(pairs, numbers, strict=True))) == len(set(pairs)) == len(set(numbers)) == max(numbers) + 1
    assert batch.to("cpu").speakers.tolist() == numbers
