"""A run that is cut off and continued: to the same bits, and never as another run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sacl.errors import ModelError, RunError, SaclError
from sacl.experiment.recipe import Recipe, dump_recipe
from sacl.experiment.study import open_study, study

MakeRecipe = Callable[..., Recipe]
WriteCorpus = Callable[..., Path]
EPOCHS = 60
# Learns so fast that the selected epoch is an early one: a checkpoint has to hold it beside the last.
LONG = {"seeds": [0], "training.epochs": EPOCHS, "training.patience": EPOCHS, "training.learning_rate": 0.1}


Contents = Callable[[Path], dict[str, Any]]


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def training(recipe: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", "from sacl.cli import main; main()", "train", str(recipe), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--jobs", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What was started in the background, these tests for one, hands down to its children that Ctrl-C is ignored.
        preexec_fn=_heed_interrupts,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def living(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            stats.append(path.read_text().rpartition(")")[2].split())
    return [state for state, _, of, *_ in stats if int(of) == group and state != "Z"]


def wait_for_lines(path: Path, n: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= n:
            return
        time.sleep(0.002)
    pytest.fail(f"it did not get to epoch {n}: {process.communicate()}")


def test_cut_off_again_and_again_it_gives_the_same_bits_though_an_early_epoch_was_selected(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    [whole] = study(make_recipe(LONG), tmp_path / "whole")
    assert whole["epoch"] < 40
    for epoch in (1, whole["epoch"], whole["epoch"] + 1, 45):
        cut_off(make_recipe(LONG), tmp_path / "run", epoch)
        assert not (tmp_path / "run" / "seed-0" / "result.json").exists()
    study(make_recipe(LONG), tmp_path / "run", resume=True)
    assert contents(tmp_path / "run" / "seed-0") == contents(tmp_path / "whole" / "seed-0")


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_line_and_exit_130_then_resume_completes(
    contents: Contents, told: signal.Signals, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(LONG)
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    with training(file, tmp_path / "run") as process:
        wait_for_lines(tmp_path / "run" / "seed-0" / "metrics.jsonl", 2, process)
        os.killpg(process.pid, told)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err == "sacl: interrupted. Completed epochs are kept: go on with the same command and --resume\n"
    assert (tmp_path / "run" / "seed-0" / "checkpoint.safetensors").exists()
    study(recipe, tmp_path / "run", resume=True)
    study(recipe, tmp_path / "whole")
    assert contents(tmp_path / "run" / "seed-0") == contents(tmp_path / "whole" / "seed-0")


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGKILL])
def test_seeds_side_by_side_stop_with_the_process_that_started_them(
    told: signal.Signals, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe({"training.epochs": 100_000, "training.patience": 100_000})
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    with training(file, tmp_path / "run", "--jobs", "2") as process:
        for seed in (0, 1):
            wait_for_lines(tmp_path / "run" / f"seed-{seed}" / "metrics.jsonl", 2, process)
        if told == signal.SIGKILL:
            process.kill()  # it alone: it cannot tell its workers
        else:
            os.killpg(process.pid, told)  # as Ctrl-C does
        out, err = process.communicate(timeout=120)
        deadline = time.monotonic() + 60
        while (left := living(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not left
    assert "Traceback" not in err
    if told == signal.SIGINT:
        assert (process.returncode, out, err.count("\n")) == (130, "", 1)


def test_a_second_process_on_a_run_is_told(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe({"seeds": [0], "training.epochs": 100_000, "training.patience": 100_000})
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    with training(file, tmp_path / "run") as process:
        wait_for_lines(tmp_path / "run" / "seed-0" / "metrics.jsonl", 1, process)
        with pytest.raises(RunError, match="another process works on this run"):
            study(recipe, tmp_path / "run", resume=True)
        assert process.poll() is None
    with pytest.raises(SaclError, match="not empty"):
        study(recipe, tmp_path / "run")


def test_a_run_that_is_complete_is_not_trained_again(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    results = study(make_recipe(), tmp_path / "run", jobs=1)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("seed-*/*")}
    assert study(make_recipe(), tmp_path / "run", resume=True) == results
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("seed-*/*")} == before


def test_a_folder_with_something_in_it_needs_resume(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    with pytest.raises(RunError, match=r"not empty.*--resume"):
        study(make_recipe({"seeds": [0]}), tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"training.epochs": 7}, r"training\.epochs was 5, and is 7"),
        ({"training.threads": 2}, r"training\.threads was 1, and is 2"),
        ({"objective.adversary.epsilon": 2.0}, r"objective\.adversary\.epsilon was 5\.0, and is 2\.0"),
        ({"name": "other"}, r"name was 'tiny', and is 'other'"),
    ],
)
def test_other_settings_are_refused(
    settings: dict[str, Any], told: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    with pytest.raises(RunError, match=f"begun with other settings \\({told}\\)"):
        study(make_recipe({"seeds": [0], **settings}), tmp_path / "run", resume=True)


def test_other_data_are_refused(make_recipe: MakeRecipe, tiny: Path, write_corpus: WriteCorpus, tmp_path: Path) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    write_corpus(tiny, seed=1, splits=("test",))
    with pytest.raises(RunError, match="begun on other data"):
        study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True)


def test_the_result_is_written_last(make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sacl.experiment import run

    written: list[str] = []
    write_aside, save = run.write_aside, run.TrainedModel.save

    def noted(path: Path, text: str) -> None:
        written.append(path.name)
        write_aside(path, text)

    def saved(model: Any, path: Path) -> None:
        written.append(path.name)
        save(model, path)

    monkeypatch.setattr(run, "write_aside", noted)
    monkeypatch.setattr(run.TrainedModel, "save", saved)
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    assert written[-1] == "result.json"
    assert set(written) == {"model.safetensors", "predictions.jsonl", "result.json"}


def test_a_seed_whose_result_lacks_is_completed_again(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    whole = contents(tmp_path / "run" / "seed-0")
    (tmp_path / "run" / "seed-0" / "result.json").unlink()
    study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True)
    assert contents(tmp_path / "run" / "seed-0") == whole


def test_a_run_cut_off_between_its_first_two_files_is_resumed(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").unlink()  # the record is written first
    study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.yaml").exists()


def cut_off(recipe: Recipe, run: Path, epoch: int) -> Path:
    """A run that stopped after an epoch, begun or gone on with; its checkpoint."""

    class Stop(Exception):
        pass

    def stop(_: str, figures: dict[str, Any]) -> None:
        if figures["epoch"] == epoch:
            raise Stop

    with pytest.raises(Stop):
        study(recipe, run, on_epoch=stop, resume=True)
    return run / "seed-0" / "checkpoint.safetensors"


def test_a_damaged_checkpoint_is_told_and_deleting_it_starts_the_seed_anew(
    contents: Contents, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    checkpoint = cut_off(make_recipe({"seeds": [0]}), tmp_path / "run", 2)
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 1
    checkpoint.write_bytes(data)
    with pytest.raises(ModelError, match=r"the checkpoint is damaged.*Delete it"):
        study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True)
    checkpoint.unlink()
    study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True)
    study(make_recipe({"seeds": [0]}), tmp_path / "whole")
    assert contents(tmp_path / "run" / "seed-0") == contents(tmp_path / "whole" / "seed-0")


def test_resumed_progress_begins_with_the_epochs_already_done(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    cut_off(make_recipe({"seeds": [0]}), tmp_path / "run", 2)
    told: list[int] = []
    study(make_recipe({"seeds": [0]}), tmp_path / "run", resume=True, on_epoch=lambda _, f: told.append(f["epoch"]))
    assert told == [1, 2, 3, 4, 5]


def test_asking_again_for_some_of_the_seeds_takes_none_away(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    study(make_recipe({"seeds": [0, 1]}), tmp_path / "run", jobs=1)
    asked = study(make_recipe({"seeds": [1, 2]}), tmp_path / "run", jobs=1, resume=True)
    assert [result["seed"] for result in asked] == [1, 2]
    assert open_study(tmp_path / "run")[0].seeds == [0, 1, 2]


def test_what_a_killed_writer_left_beside_is_removed(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    left = tmp_path / "run/seed-0/.checkpoint.safetensors.0badf00d"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    study(make_recipe({"seeds": [0]}), tmp_path / "run", jobs=1, resume=True)
    assert not left.exists()


def test_a_damaged_record_is_told_and_its_remedy_works(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    first = study(make_recipe({"seeds": [0]}), tmp_path / "run", jobs=1)
    (tmp_path / "run/run.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"run\.json: it is damaged\. Delete it, and --resume"):
        study(make_recipe({"seeds": [0]}), tmp_path / "run", jobs=1, resume=True)
    (tmp_path / "run/run.json").unlink()
    assert study(make_recipe({"seeds": [0]}), tmp_path / "run", jobs=1, resume=True) == first
    assert open_study(tmp_path / "run")[1]["data"] == first[0]["data"]
