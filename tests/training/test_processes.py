"""Several processes, each with a share of every micro-batch, train what one process trains.

The file is also the program that each of those processes runs: RANK SIZE FOLDER.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from sacl.conversation import LabelSet
from sacl.model.batch import ConversationItem
from sacl.model.build import MODELS, build_model
from sacl.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from sacl.training.fit import Fit
from sacl.training.processes import Processes

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
    rows = [
        torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (3, 0, 2)[:size]
    ]
    own = rows[rank].requires_grad_()
    whole = torch.cat(rows) if processes is None else processes.gather(own)[0]
    (whole @ whole.T).exp().prod(dim=1).log().square().sum().backward()
    assert own.grad is not None
    return own.grad


def work(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{size}", rank=rank, world_size=size)
    processes = Processes()
    for case in CASES if size == 2 else ("meld", "iemocap", "pgd on inputs"):
        parameters, history = outcome(case, processes)
        save_file(parameters, folder / f"{case} {rank} of {size}.safetensors")
        (folder / f"{case} {rank} of {size}.json").write_text(json.dumps(history))
    gradient = gathered_gradient(processes, rank, size)
    save_file({"gradient": gradient}, folder / f"gathered {rank} of {size}.safetensors")
    told = processes.told({"who": rank, "x": [0.1, "ü"]})
    (folder / f"told {rank} of {size}.json").write_text(json.dumps(told))
    _, one, three = (parameter(x) for x in (1.0, 1.0, 3.0))
    sums = processes.summed([one, one, three], [None, torch.ones(2) if rank else None, torch.full((2,), 2.0)])
    assert sums[0] is None
    assert [s.tolist() for s in sums[1:] if s is not None] == [[size - 1.0] * 2, [2.0 * size] * 2]
    dist.destroy_process_group()


def parameter(x: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full((2,), x))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two and three processes have made of every case."""
    folder = tmp_path_factory.mktemp("together")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(size), str(folder)], env=environment)
        for size in (2, 3)
        for rank in range(size)
    ]
    try:
        assert [process.wait(240) for process in started] == [0] * 5
    finally:
        for process in started:
            process.kill()
            process.wait()
    return folder


@pytest.mark.parametrize(
    ("case", "size"), [(case, 2) for case in CASES] + [(case, 3) for case in ("meld", "iemocap", "pgd on inputs")]
)
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


def test_all_are_told_what_the_first_has(folder: Path) -> None:
    told = [json.loads((folder / f"told {rank} of 3.json").read_text()) for rank in range(3)]
    assert told == [{"who": 0, "x": [0.1, "ü"]}] * 3


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
