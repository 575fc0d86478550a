"""Every reader of what comes from elsewhere, as a function of bytes, with tiny valid files to begin from.

A reader returns or raises a SaclError; anything else is a defect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from common import Reader
from conversation_files import conversation_readers
from dataset_files import dataset_readers
from model_files import model_readers
from report_files import report_readers
from served import served


@cache
def readers() -> Mapping[str, Reader]:
    """All of them, by name."""
    found = conversation_readers() | dataset_readers() | model_readers() | report_readers() | served()
    return {name.replace(" ", "-").replace("seed-0/", ""): reader for name, reader in found.items()}
