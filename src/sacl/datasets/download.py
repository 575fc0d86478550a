"""Known files of public data sets: address, SHA-256, size. What does not match all three is not kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacl.errors import DataError

Progress = Callable[[str, int, int], None]

CONNECT_SECONDS, READ_SECONDS = 10, 60
HOST = "https://raw.githubusercontent.com/declare-lab/MELD"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at `HOST/path`, and what it must be."""

    path: str
    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """Its name in the data set's folder."""
        return self.path.rsplit("/", 1)[1]


# The addresses name commits: the same file differs between commits, and the branch may move again.
KNOWN: Mapping[str, tuple[RemoteFile, ...]] = {
    "meld": (
        RemoteFile(
            "ca3e1266db4cc4a4e802156e2f721c4cd114a696/data/MELD/train_sent_emo.csv",
            "d2fa2d6529cf03cac2989efec05c9b27d8fd2f4c8fc5974c7ae88aa537fa02db",
            1119290,
        ),
        RemoteFile(
            "ca3e1266db4cc4a4e802156e2f721c4cd114a696/data/MELD/dev_sent_emo.csv",
            "2e89c6f8aa182d6f62f8c6331aece905ac7273ca4999660bfb5213e1d0370c1c",
            121640,
        ),
        RemoteFile(
            "76e4ed20032322e47bbe04d3b5179f9b2e35bec9/data/MELD/test_sent_emo.csv",
            "8d37103938f7067600839fe29d5a114a6cd1bcdafb75bec101e06464c5006888",
            294526,
        ),
    ),
    "emorynlp": (
        RemoteFile(
            "a0e0589835bd5204c3b1e2fcbc852f181e2086ea/emorynlp_train_final.csv",
            "462c66c333783adb801836d12d1424f48489bef4fb8ddfec7fbb2f08ce8211d5",
            771777,
        ),
        RemoteFile(
            "a0e0589835bd5204c3b1e2fcbc852f181e2086ea/emorynlp_dev_final.csv",
            "20edc9d5917fe705b17b849f7f288e495d4132a60353a6247c3800445bdf8734",
            93130,
        ),
        RemoteFile(
            "a0e0589835bd5204c3b1e2fcbc852f181e2086ea/emorynlp_test_final.csv",
            "dbc4b5638acd12c92a5f48def829e04f1c765cddffb4eedbe34216312e0d2d78",
            100280,
        ),
    ),
}

NOT_FETCHED = {
    "iemocap": (
        "IEMOCAP is licensed and cannot be fetched",
        "Ask for it at https://sail.usc.edu/iemocap/iemocap_release.htm, and name its folder in SACL_DATA",
    ),
    "iemocap-4": (
        "IEMOCAP is licensed and cannot be fetched",
        "Ask for it at https://sail.usc.edu/iemocap/iemocap_release.htm, and name its folder in SACL_DATA",
    ),
    "mosei": (
        "CMU-MOSEI is not fetched",
        "Convert a pickle of it with `sacl data import PICKLE --as mosei --out DIR`, and give --data DIR",
    ),
    "dailydialog": (
        "DailyDialog is not fetched",
        "Get it at http://yanran.li/dailydialog, and name its folder in SACL_DATA",
    ),
    "sample": ("the sample corpus comes with the package", "Read it with load_corpus('sample')"),
}
"""What is wrong with fetching these, and what to do instead."""


def cached(name: str) -> Path:
    """The folder that `fetch` fills by default: in SACL_CACHE, or else in the user's own cache folder."""
    import platformdirs

    root = os.environ.get("SACL_CACHE") or platformdirs.user_cache_path("sacl")
    return Path(root) / "datasets" / name


def fetch(name: str, to: Path | None = None, base_url: str | None = None, progress: Progress | None = None) -> Path:
    """Download a public data set, and return its folder. Files already there and intact are left alone.

    Args:
        name: `meld` or `emorynlp`.
        to: the folder; by default the one that `load_corpus` looks into.
        base_url: a mirror that holds the files under their own names.
        progress: called as progress(file, bytes done, bytes in all).

    Raises:
        DataError: an unknown or licensed data set, no answer, or a file that is not the known one; none of that file is
            kept.
    """
    if name not in KNOWN:
        found, remedy = NOT_FETCHED.get(name, (f"unknown data set {name!r}", f"Use one of: {', '.join(KNOWN)}"))
        raise DataError(found, where=name, remedy=remedy)
    folder = to or cached(name)
    for file in KNOWN[name]:
        url = f"{base_url.rstrip('/')}/{file.name}" if base_url else f"{HOST}/{file.path}"
        _fetch_file(file, url, folder, progress)
    return folder


def _fetch_file(file: RemoteFile, url: str, folder: Path, progress: Progress | None) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    store = pooch.create(folder, base_url="", registry={file.name: f"sha256:{file.sha256}"}, urls={file.name: url})

    def download(url: str, out: str, _: Any) -> None:
        _stream(url, out, file, progress)

    again = "Try again later, or put the files there yourself"
    try:
        store.fetch(file.name, downloader=download)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "with an error"
        raise DataError(f"the server answered {status}", where=url, remedy=again) from None
    except requests.Timeout:
        raise DataError("the server did not answer in time", where=url, remedy=again) from None
    except requests.exceptions.ChunkedEncodingError:
        raise DataError("the connection broke off", where=url, remedy="Try again") from None
    except requests.RequestException:
        raise DataError("the server cannot be reached", where=url, remedy="Check the network and its proxy") from None
    except ValueError:
        raise DataError("its SHA-256 is not the known one; it was not kept", where=url, remedy=again) from None
    except OSError as error:
        raise DataError(
            f"it cannot be written ({error.strerror or error})", where=str(folder), remedy="Check the folder"
        ) from None


def _stream(url: str, out: str, file: RemoteFile, progress: Progress | None) -> None:
    """Write the file out, and stop as soon as its size is not the known one."""
    import requests

    def check(size: int, so_far: bool) -> None:
        if size > file.bytes or (size < file.bytes and not so_far):
            raise DataError(
                f"it has {'more than ' * so_far}{file.bytes if so_far else size} bytes, expected {file.bytes}",
                where=url,
                remedy="Try again later, or put the files there yourself",
            )

    # Not compressed on the way, so that the announced length is the file's own.
    with (
        requests.get(
            url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), headers={"Accept-Encoding": "identity"}
        ) as answer,
        Path(out).open("wb") as stream,
    ):
        answer.raise_for_status()
        if "content-length" in answer.headers and "content-encoding" not in answer.headers:
            check(int(answer.headers["content-length"]), so_far=False)
        done = 0
        for chunk in answer.iter_content(65536):
            done += stream.write(chunk)
            check(done, so_far=True)
            if progress:
                progress(file.name, done, file.bytes)
        check(done, so_far=False)
