"""A Ray to work on: one that is running, or one that is started here for the job."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from inspect import signature
from pathlib import Path
from typing import Any

from sacl.errors import RunError, SaclError

LOCAL = "local"
"""In place of an address: the cluster that RAY_ADDRESS names; without it, a Ray that is started here for the job."""

ADDRESS = re.compile(r"auto|local|[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # Ray Tune: no tables of its own, Ctrl-C answered by the command, no logs, no folder changed behind our back.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
_HANDED_ON = ("SACL_CACHE", "SACL_DATA", "HF_HOME", "HF_HUB_OFFLINE")
"""Variables that decide what a worker finds, and that it would not have from whoever started its machine's Ray."""

_OLDEST = (2, 52)
"""Of Ray: earlier ones let everybody in, whatever `RAY_AUTH_MODE` says."""

_TRIES = 3
"""How often a piece of Ray Data is begun again whose worker was killed: it may take more memory than there is."""

_STORE = 500 * 2**20  # of a Ray that is started here: what passes through it are parts of a megabyte


def require_ray(address: str = LOCAL) -> None:
    """Raises a RunError where the extra `scale` is missing or too old, where this is no address, or under torchrun."""
    from importlib.metadata import version
    from importlib.util import find_spec

    from sacl.training.processes import are_several

    if are_several():
        raise RunError("torchrun started several processes", where="--ray", remedy="Leave out --ray, or torchrun")
    if not ADDRESS.fullmatch(address):
        raise RunError(f"{address!r} is no address", where="--ray", remedy="Give auto or host:port, or none")
    for name in ("ray", "pyarrow", "fsspec", "pandas", "tensorboardX"):
        if find_spec(name) is None:
            raise RunError(
                f"this needs the library {name}", where="--ray", remedy="Install it with: pip install 'sacl[scale]'"
            )
    if tuple(int(number) for number in version("ray").split(".")[:2]) < _OLDEST:
        raise RunError(
            f"Ray {version('ray')} cannot ask for a token",
            where="--ray",
            remedy="Install a newer one with: pip install -U 'sacl[scale]'",
        )


@contextmanager
def connected(address: str = LOCAL) -> Iterator[Any]:
    """Within, `ray` is connected; afterwards no longer, and a Ray that was started for it is gone.

    Args:
        address: `local`; or, on a machine of a cluster, `host:port` of its head, or `auto`: whichever runs there.

    Raises:
        RunError: Ray is not installed, there is none at the address, or it does not let us in.
    """
    require_ray(address)
    if "ray" in sys.modules and not sys.modules["ray"].is_initialized() and "RAY_AUTH_MODE" not in os.environ:
        raise RunError(
            "Ray was imported before, and did not learn then that it is to ask for a token",
            where="--ray",
            remedy="Set RAY_AUTH_MODE=token before the import, or call ray.init yourself",
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield ray
        return
    answers = signal.getsignal(signal.SIGTERM)
    with _ray_silent():
        try:
            _connect(ray, address)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, answers)  # Ray would end the process with its own exit code
            _quieten()
            yield ray
        finally:
            ray.shutdown()


def require_room(ray: Any, need: Mapping[str, int], workers: int = 1) -> None:
    """Raises a RunError where the machines, were they idle, had no place: Ray would wait for ever.

    Args:
        ray: as it is `connected`.
        need: what each worker needs of one machine, by Ray's names.
        workers: how many at the same time.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(min(int(has.get(name, 0) // amount) for name, amount in need.items()) for has in machines)
    if room < workers:
        each = " and ".join(f"{amount} {name}" for name, amount in need.items())
        there = ", ".join(" and ".join(f"{has.get(name, 0):g} {name}" for name in need) for has in machines)
        raise RunError(
            f"it takes {workers} x {each}, and the machines have {there}",
            where="--ray",
            remedy="Ask for less (training.threads, training.device, --workers), or start Ray on more machines",
        )


def not_seen(where: str, remedy: str) -> RunError:
    """What a worker raises on a machine that does not have a file or folder."""
    return RunError(f"the machine {os.uname().nodename} does not see it", where=where, remedy=remedy)


@contextmanager
def told(where: str) -> Iterator[None]:
    """What a worker of Ray Data meets within is raised as what it is: an error that the user can mend, or a RunError.

    Args:
        where: the place that the latter names.
    """
    from ray.exceptions import RayActorError, RayError, WorkerCrashedError

    try:
        yield
    except RayError as error:
        inner = cause(error)
        if isinstance(inner, SaclError):
            raise inner from error
        if isinstance(inner, RayActorError | WorkerCrashedError) and not getattr(inner, "actor_init_failed", False):
            raise RunError(
                "workers were killed again and again at the same piece; it may take more memory than there is",
                where=where,
                remedy="Give the machines more memory or divide long conversations; what is done is kept",
            ) from error
        last = next(iter(str(inner).strip().splitlines()[-1:]), type(inner).__name__)
        remedy = "Mend that, and give the same command: what is done is kept"
        raise RunError(f"Ray gave up ({last[:300]})", where=where, remedy=remedy) from error


def mapped(data: Any, work: Any, **options: Any) -> Any:
    """`data.map_batches` of a row at a time; what kills its worker is begun again `_TRIES` times, and not for ever.

    Args:
        data: of Ray Data.
        work: a function, or a class of workers.
        options: of `map_batches`.
    """
    bounds = {"max_task_retries": _TRIES, "max_restarts": 3 * _TRIES} if isinstance(work, type) else {}
    if any(of.kind is of.VAR_KEYWORD for of in signature(data.map_batches).parameters.values()):
        options |= bounds or {"max_retries": _TRIES}
    with warnings.catch_warnings():
        # These bounds are to get names of their own; until then there is no other way to give them.
        warnings.simplefilter("ignore", DeprecationWarning)
        return data.map_batches(work, batch_size=1, **options)


def cause(error: BaseException) -> BaseException:
    """What went wrong in the worker; of a RayTaskError, perhaps of several around each other, the innermost."""
    while not isinstance(error, SaclError) and getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    return error


def _connect(ray: Any, address: str) -> None:
    handed = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": handed} if handed else None,
    }
    try:
        if address == LOCAL and not os.environ.get("RAY_ADDRESS"):
            # Not one that may be found running: it may be anybody's. Its ports are open to this machine alone.
            options |= {"include_dashboard": False, "object_store_memory": _STORE, "_node_ip_address": "127.0.0.1"}
            ray.init("local", **options)
        else:
            ray.init(os.environ["RAY_ADDRESS"] if address == LOCAL else address, **options)
    except Exception as error:  # of Ray's start, many kinds
        told = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise RunError(
            f"Ray cannot be reached ({told[:300]})",
            where=f"--ray {address}",
            remedy="Check the address, that Ray and Python have one version everywhere, and the token in "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token",
        ) from error


@contextmanager
def _ray_silent() -> Iterator[None]:
    """Within, what Ray prints, and what its compiled code writes to stderr, is dropped; its log files have that too."""
    sys.stderr.flush()
    before, kept = sys.stderr, os.dup(2)
    with open(kept, "w", buffering=1, encoding=before.encoding, errors=before.errors) as stderr:  # noqa: PTH123
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        # Another stream, one that a test looks at say, does not write there.
        sys.stderr = stderr if before is sys.__stderr__ else before
        try:
            # It tells of lost workers there, though what they did is done again.
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                yield
        finally:
            stderr.flush()
            sys.stderr = before
            os.dup2(kept, 2)


def _quieten() -> None:
    """No bars and no lines of Ray's own on stderr: what cannot be mended by another try is raised."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data", "ray.tune", "ray.train"):  # now that their modules have set their own levels
        logging.getLogger(name).setLevel(logging.CRITICAL)
