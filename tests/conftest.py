"""What every test stands on: one thread, no network, a cache of its own, and the real data where it is to be had."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

# Set before torch or a Hugging Face library is imported; the processes of pytest-xdist inherit it.
os.environ["OMP_NUM_THREADS"] = "1"  # the thread count changes the last bits of a sum
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("MPLBACKEND", "agg")

if "SACL_CACHE" not in os.environ:
    os.environ["SACL_CACHE"] = tempfile.mkdtemp(prefix="sacl-tests-")
    atexit.register(shutil.rmtree, os.environ["SACL_CACHE"], ignore_errors=True)

CI = os.environ.get("CI", "").lower() in {"1", "true"}
# In CI these never skip: what they need has to be installed there, and a skip would hide that it is not.
NEVER_SKIPPED_IN_CI = ("data", "browser", "ray")

hypothesis.settings.register_profile("sacl", deadline=None)
hypothesis.settings.register_profile("sacl-ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("sacl-ci" if CI else "sacl")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder that holds meld/ and emorynlp/: SACL_TEST_DATA, or shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SACL_TEST_DATA") or beside)
    for name in ("meld", "emorynlp"):
        if not (folder / name).is_dir():
            pytest.skip(f"{folder / name} is absent; set SACL_TEST_DATA to the folder that holds meld/ and emorynlp/")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marked = [name for name in NEVER_SKIPPED_IN_CI if item.get_closest_marker(name)]
    if CI and report.skipped and marked and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"a test marked {marked[0]} may not skip in CI: {reason}"
    return report
