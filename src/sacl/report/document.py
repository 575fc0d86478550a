"""What a report is made of: sections of tables, figures and examples, whatever they are shown in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacl.report.table import Table


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure.

    Args:
        name: of its file, and its id on a page: letters, digits and `-`.
        figure: matplotlib's.
        caption: what it shows, in a sentence or two.
        description: what it shows to a reader who cannot see it, figures included.
    """

    name: str
    figure: Any
    caption: str
    description: str


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance that was named wrongly, with what was said before it.

    Args:
        conversation: its id.
        before: speaker and text of the turns before it, the last two at most.
        speaker, text: its own.
        gold, predicted: labelled and predicted emotion.
        seeds: how many of the seeds named it so.
    """

    conversation: str
    before: Sequence[tuple[str, str]]
    speaker: str
    text: str
    gold: str
    predicted: str
    seeds: int


@dataclass(frozen=True, slots=True)
class Headline:
    """The figure a run is known by, percent.

    Args:
        name: of the measure.
        value, low, high: mean over seeds and its 95 % interval over test conversations.
        about: what it was measured on, and with which encoder.
        published: the published figure beside it, with its encoder; empty where there is none.
    """

    name: str
    value: float
    low: float
    high: float
    about: str
    published: str


Part = Headline | Table | Drawing | Example | str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report under a heading; `name` is its id on a page."""

    name: str
    title: str
    parts: Sequence[Part]
