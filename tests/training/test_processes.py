"""Several processes, each with a share of every micro-batch, train what one process trains.

The file is also the program that each of those processes runs, with a folder, in `torchrun`'s environment.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sacl.conversation import LabelSet
from sacl.errors import NumericalError, RecipeError, RunError
from sacl.model.batch import ConversationItem, collate
from sacl.model.build import MODELS, build_model
from sacl.model.dual_lstm import mask_generator
from sacl.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from sacl.training.fit import Fit
from sacl.training.objective import SACL, Forward
from sacl.training.processes import Processes, joined
from sacl.training.side_by_side import micro_batches_at_once

WIDTH, LABELS = 5, LabelSet(("a", "b", "c"))

RELEASED = {"shares": {"context": 0.4, "speaker": 0.3}}
ALL_INPUTS = {"on": ["input"], "shares": {}}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "meld": {"objective": {"adversary": RELEASED}},
    "iemocap": {
        "model": {"layers": 2},
        "objective": {"contrast_on": "hidden", "class_weights": "train", "loss_divisor": 16.0},
        "training": {"select": "weighted_f1"},
    },
    "paper": {
        "objective": {
            "focal_gamma": 0.0,
            "reduction": "mean",
            "contrastive": "sup_con",
            "similarity": "dot",
            "contrast_on": "hidden",
            "temperature": 1.0,
            "contrastive_scale": "one",
            "adversary": {"norm": "all", "shares": {}},
        }
    },
    "pgd": {"objective": {"adversary": {"kind": "pgd", "rate": 0.7}}},
    "pgd on inputs": {"objective": {"adversary": {"kind": "pgd", "norm": "all", **ALL_INPUTS}}},
    "virtual": {"objective": {"adversary": {"kind": "virtual"}}},
    "virtual on inputs": {"objective": {"adversary": {"kind": "virtual", **ALL_INPUTS}}},
    "random": {"objective": {"adversary": {"kind": "random"}}},
    "random inputs": {"objective": {"adversary": {"kind": "random", **ALL_INPUTS}}},
    "inputs and context": {"objective": {"adversary": {"on": ["input", "context"], "shares": {"input": 0.5}}}},
    "own batch, keeps all": {"objective": {"adversary": {"follows": "batch", "keeps": "all"}}},
    "clean": {"objective": {"adversary": {"kind": "none"}}, "training": {"window": "released"}},
    "released padding": {"model": {"padding": "released"}, "objective": {"adversary": RELEASED}},
    **{
        kind: {
            "model": {"kind": kind, "hidden_size": 8, "layers": 2},
            "objective": {"adversary": {"on": ["input"], "shares": {}}},
        }
        for kind in MODELS
        if kind != "dual_lstm"
    },
}
OF_THREE = ("meld", "iemocap", "pgd on inputs")
EPOCHS = 2


def items_of(count: int, seed: int) -> list[ConversationItem]:
    """Conversations of one to eight turns, of which some are unlabelled; the last has no labelled turn."""
    rng = np.random.default_rng(seed)
    items = []
    for i in range(count):
        n = int(rng.integers(1, 9))
        labels = np.where(rng.random(n) < 0.2, -100, rng.integers(0, len(LABELS), n))
        features = torch.from_numpy(rng.normal(size=(n, WIDTH)))
        items.append(ConversationItem(f"c{i}", features, rng.integers(0, 3, n), labels))
    items[-1].labels[:] = -100
    return items


def fit_of(case: str, processes: Processes | None, checkpoint: Path | None = None) -> Fit:
    """13 conversations in batches of 4: the last batch, of one, leaves all processes but one without any."""
    settings = CASES[case]
    model = ModelSettings(**{"hidden_size": 4, "dropout": 0.4} | settings.get("model", {}))
    training = {"batch_size": 4, "accumulation": 2, "window": "exact", "epochs": EPOCHS, "learning_rate": 1e-2}
    return Fit(
        lambda: build_model(model, WIDTH, len(LABELS)),
        items_of(13, seed=1),
        items_of(6, seed=2),
        LABELS,
        model,
        ObjectiveSettings(**settings.get("objective", {})),
        TrainingSettings(**training | {"double": True} | settings.get("training", {})),
        seed=3,
        checkpoint=checkpoint,
        processes=processes,
    )


def outcome(case: str, processes: Processes | None) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """All parameters after the last epoch, and every epoch's figures."""
    fit = fit_of(case, processes)
    last: dict[str, Tensor] = {}

    def keep(_: object) -> None:
        last.update({name: t.clone() for name, t in fit.model.state_dict().items()})

    return last, fit.run(keep).history


def gathered_gradient(processes: Processes | None, rank: int, size: int) -> Tensor:
    """Of a loss that couples all rows with each other, by the rows of one process."""
    rows = [torch.randn(n, 3, generator=seeded(n), dtype=torch.float64) for n in (3, 0, 2)[:size]]
    own = rows[rank].requires_grad_()
    whole = torch.cat(rows) if processes is None else processes.gather(own)[0]
    (whole @ whole.T).tanh().square().sum().backward()
    assert own.grad is not None
    return own.grad


def accumulated_gradients(processes: Processes | None, rank: int, adversary: dict[str, Any]) -> dict[str, Tensor]:
    """Of a network that is not ours, over two micro-batches that share one `.grad`; of 7 items the first has 5."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    net.register_parameter("unused", unused)
    settings = ObjectiveSettings(contrast_on="hidden", adversary=adversary)
    sacl = SACL(net, {"input": net[0], "context": net[2]}, settings, generator=seeded(1), processes=processes)
    own = slice(None) if processes is None else slice(0, 5) if rank == 0 else slice(5, 7)
    for batch in (1, 2):
        x, labels = torch.randn(7, 4, generator=seeded(batch), dtype=torch.float64)[own], (torch.arange(7) % 3)[own]

        def closure(x: Tensor = x, labels: Tensor = labels) -> Forward:
            hidden = net[:2](x)
            return Forward(net[2](hidden).log_softmax(dim=1), hidden, labels)

        sacl.backward(closure, draw=0.5)
    assert unused.grad is None
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


ADVERSARIES = {
    "both": {"on": ["input", "context"], "shares": {}},
    "own batch": {"on": ["context"], "shares": {}, "follows": "batch", "keeps": "all"},
}


def told_of_nan(processes: Processes | None) -> str:
    """What is raised where one conversation's features, the last share's, are no numbers."""
    fit = fit_of("meld", processes)
    for item in fit.train:
        if item.id == "c5":
            item.features[:] = torch.nan
    with pytest.raises(NumericalError) as refused:
        fit.run()
    return str(refused.value)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def work(processes: Processes, folder: Path) -> None:
    rank, size = processes.rank, processes.size
    ends = f"{rank} of {size}"
    for case in CASES if size == 2 else OF_THREE:
        parameters, history = outcome(case, processes)
        save_file(parameters, folder / f"{case} {ends}.safetensors")
        (folder / f"{case} {ends}.json").write_text(json.dumps(history))
    save_file({"gradient": gathered_gradient(processes, rank, size)}, folder / f"gathered {ends}.safetensors")
    for name, adversary in ADVERSARIES.items() if size == 2 else ():
        save_file(accumulated_gradients(processes, rank, adversary), folder / f"accumulated, {name} {ends}.safetensors")
    told = {"who": processes.told({"rank": rank, "x": [0.1, "\u00fc"]}), "nan": told_of_nan(processes)}
    (folder / f"told {ends}.json").write_text(json.dumps(told))
    none, first, all_ = (torch.zeros(2) for _ in range(3))
    sums = processes.summed([none, first, all_], [None, torch.ones(2) if rank == 0 else None, torch.full((2,), 0.5)])
    assert sums[0] is None
    assert [s.tolist() for s in sums[1:] if s is not None] == [[1.0] * 2, [size / 2] * 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two and three processes have made of every case."""
    folder = tmp_path_factory.mktemp("together")
    common = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    started = []
    for size in (2, 3):
        with socket.create_server(("127.0.0.1", 0)) as free:
            meeting = common | {"MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(size)}
        for rank in range(size):
            environment = meeting | {"RANK": str(rank)}
            started.append(subprocess.Popen([sys.executable, __file__, str(folder)], env=environment))
    try:
        assert [process.wait(240) for process in started] == [0] * 5
    finally:
        for process in started:
            process.kill()
            process.wait()
    return folder


@pytest.mark.parametrize(("case", "size"), [(case, 2) for case in CASES] + [(case, 3) for case in OF_THREE])
def test_they_train_the_parameters_of_one_and_report_its_figures(folder: Path, case: str, size: int) -> None:
    alone, history = outcome(case, None)
    for rank in range(size):
        together = load_file(folder / f"{case} {rank} of {size}.safetensors")
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=0, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
        theirs = json.loads((folder / f"{case} {rank} of {size}.json").read_text())
        assert len(theirs) == EPOCHS
        for figures, expected in zip(theirs, history, strict=True):
            assert figures == pytest.approx(expected, rel=0, abs=1e-9)
    others = [(folder / f"{case} {rank} of {size}.safetensors").read_bytes() for rank in range(size)]
    assert len(set(others)) == 1  # to the bit: they would drift apart otherwise


@pytest.mark.parametrize("size", [2, 3])
def test_a_gather_of_unequal_counts_has_the_gradient_of_a_concatenation(folder: Path, size: int) -> None:
    for rank in range(size):
        expected = gathered_gradient(None, rank, size)
        found = load_file(folder / f"gathered {rank} of {size}.safetensors")["gradient"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_gradients_of_any_network_add_to_those_of_earlier_micro_batches(folder: Path, adversary: str) -> None:
    expected = accumulated_gradients(None, 0, ADVERSARIES[adversary])
    for rank in range(2):
        found = load_file(folder / f"accumulated, {adversary} {rank} of 2.safetensors")
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
def test_all_are_told_what_the_first_has_and_refuse_alike_what_is_no_number(folder: Path, size: int) -> None:
    told = [json.loads((folder / f"told {rank} of {size}.json").read_text()) for rank in range(size)]
    assert told == [{"who": {"rank": 0, "x": [0.1, "\u00fc"]}, "nan": told_of_nan(None)}] * size
    assert "c5" in told[0]["nan"]


@pytest.mark.parametrize("kind", MODELS)
def test_a_share_has_the_scores_that_its_utterances_have_in_the_whole_batch(kind: str) -> None:
    """In one share nobody speaks twice, so that its speaker LSTM reads nothing; one is empty."""
    settings = ModelSettings(kind=kind, hidden_size=8, layers=2, dropout=0.5)
    items = items_of(4, seed=5)
    items[2] = ConversationItem("once each", torch.ones(2, WIDTH).double(), np.array([0, 1]), np.array([0, 1]))
    torch.manual_seed(0)
    model = build_model(settings, WIDTH, len(LABELS)).double()
    whole = collate(items)
    expected = model(whole, mask_generator(whole, 7)).log_probabilities
    parts = [collate(items, share=share) for share in (slice(0, 2), slice(2, 3), slice(3, 3), slice(3, 4))]
    found = [model(part, mask_generator(part, 7)).log_probabilities for part in parts]
    torch.testing.assert_close(torch.cat(found), expected, rtol=0, atol=1e-12)
    assert [len(part) for part in found][1:3] == [2, 0]


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20), size=st.integers(2, 6))
def test_every_conversation_is_in_one_share_and_shares_are_about_as_large(lengths: list[int], size: int) -> None:
    shares = [one_of(size, rank).share(lengths) for rank in range(size)]
    assert [i for share in shares for i in range(len(lengths))[share]] == list(range(len(lengths)))
    for share in shares:
        assert abs(sum(lengths[share]) - sum(lengths) / size) <= max(lengths)


def one_of(size: int, rank: int) -> Processes:
    processes = object.__new__(Processes)  # of no group
    processes.size, processes.rank = size, rank
    return processes


def test_modules_with_unlike_numbers_of_rows_each_keep_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that gives a row an utterance, say, and one that gives a row a conversation."""
    processes = one_of(2, 1)
    counts = iter([[4, 3], [1, 2]])
    monkeypatch.setattr(processes, "_counts", lambda _: next(counts))
    monkeypatch.setattr(dist, "all_gather", lambda parts, own: [part.copy_(own) for part in parts])
    own = [torch.randn(3, 2), torch.randn(2, 5)]
    whole = processes.rows_of_all(own, own)
    assert [len(rows) for rows in whole if rows is not None] == [7, 3]
    for found, expected in zip(processes.here([nn.Identity(), nn.Identity()], whole), own, strict=True):
        assert found is not None
        assert torch.equal(found, expected)


def test_masks_of_padding_between_layers_are_refused() -> None:
    settings = ModelSettings(padding="released", layers=2)
    with pytest.raises(RecipeError, match=r"model\.padding=packed"):
        Fit(
            lambda: build_model(settings, WIDTH, len(LABELS)),
            items_of(2, 1),
            items_of(2, 2),
            LABELS,
            settings,
            ObjectiveSettings(),
            TrainingSettings(),
            0,
            processes=one_of(2, 0),
        )


def test_one_that_does_not_see_the_checkpoint_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "told", lambda self, content: 3)  # the first has three epochs behind it
    with pytest.raises(RunError, match="process 1 does not see the checkpoint"):
        fit_of("meld", one_of(2, 1), tmp_path / "checkpoint.safetensors")


def test_its_threads_are_for_single_operations() -> None:
    training = TrainingSettings(threads=4)
    assert micro_batches_at_once(ModelSettings(), training, one_of(2, 0)) == 1


@pytest.mark.parametrize("variables", [{}, {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"}])
def test_a_process_alone_joins_nobody(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with joined() as processes:
        assert processes is None


def test_one_numbered_gpu_is_not_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=r"training\.device=cuda"), joined("cuda:1"):
        pass


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as joined_processes:
        assert joined_processes is not None
        work(joined_processes, Path(sys.argv[1]))
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in threads), threads  # one that outlives us may abort the process
