"""What a visitor of the page looks at, and what becomes of it; nothing here knows of Gradio or HTML."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sacl.conversation import Conversation
from sacl.errors import DataError, SaclError
from sacl.formats import Columns, read_conversations
from sacl.interchange import utterance
from sacl.recognizer import UNCERTAIN, Influence, Recognition
from sacl.recognizer.writing import conversation_object, write_csv
from sacl.serve.errors import LimitError, SessionGone
from sacl.serve.limits import Limits
from sacl.serve.service import Service, left_open

PAGE = 50
"""Turns that are shown at once."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation, with its vectors where they are known, and what was recognised in it."""

    conversation: Conversation
    turns: Sequence[Recognition]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown.

    Args:
        talks: all that was read, at least one.
        at: which of them is shown.
        page: which turns of it.
        chosen: position of the turn that is open.
        moved: position -> how the turn there moved the chosen one's emotion.
        session: of a live conversation.
        file: the name of the one that was read.
    """

    talks: Sequence[Talk]
    at: int = 0
    page: int = 0
    chosen: int | None = None
    moved: dict[int, Influence] = field(default_factory=dict)
    session: str | None = None
    file: str | None = None

    @property
    def talk(self) -> Talk:
        """The one that is shown."""
        return self.talks[self.at]

    @property
    def is_live(self) -> bool:
        """Whether it still goes on; the newest turn then stands first."""
        return self.session is not None

    @property
    def pages(self) -> int:
        """How many there are of the conversation."""
        return -(-len(self.talk.turns) // PAGE)

    def positions(self) -> Sequence[int]:
        """Positions of the turns that are shown, in the order in which they stand."""
        every = range(len(self.talk.turns))
        return (every[::-1] if self.is_live else every)[self.page * PAGE : (self.page + 1) * PAGE]

    def page_of(self, position: int) -> int:
        """The page on which a turn stands."""
        return (len(self.talk.turns) - 1 - position if self.is_live else position) // PAGE

    def to_page(self, page: int) -> View:
        """Another page, the nearest there is."""
        return replace(self, page=min(max(page, 0), self.pages - 1))

    def to_talk(self, at: int) -> View:
        """The first page of another conversation."""
        return replace(self, at=min(max(at, 0), len(self.talks) - 1), page=0, chosen=None, moved={})

    def opened(self, position: int, influences: Sequence[Influence]) -> View:
        """With a turn open."""
        return replace(self, chosen=position, moved={i.position: i for i in influences})

    def closed(self) -> View:
        """With no turn open."""
        return replace(self, chosen=None, moved={})


def given(text: str, name: str | None, limits: Limits) -> list[Conversation]:
    """The conversations of what was pasted, or of a file's text.

    Args:
        text: all of it.
        name: the file's; its suffix says what it holds, as it does for `sacl predict`.
        limits: of the server.

    Raises:
        SaclError: it cannot be read, or is too much.
    """
    stream = io.StringIO(text)
    if name is not None:
        stream.name = name  # errors call it so
    elif not text.strip():
        raise DataError("there is nothing to read yet", remedy="Paste a conversation, open a file, or try an example")
    found, turns = list[Conversation](), 0
    for conversation in read_conversations(stream, columns=Columns(emotion=None)):
        found.append(conversation)
        turns += len(conversation)
        if turns > limits.turns or len(found) > limits.conversations:
            raise LimitError(
                f"these are more than {limits.turns} turns, or more than {limits.conversations} conversations, "
                "which are the most that this page shows",
                remedy="Give a part of them, or read all at the shell with `sacl predict`",
            )
    return found


async def added(service: Service, view: View | None, speaker: str, text: str) -> View:
    """The view with another turn, the newest page shown and no turn open.

    Raises:
        SaclError: it cannot be read. The view then still holds.
    """
    before = [] if view is None else list(view.talk.conversation.utterances)
    turn = utterance({"speaker": speaker.strip(), "text": text.strip()}, len(before), "")
    if not text.strip():
        raise DataError("nothing was said", remedy="Type what was said")
    conversation = Conversation("live", [*before, turn])
    service.check(conversation)
    known: list[Recognition] = [] if view is None else list(view.talk.turns)
    session = view.session if view is not None else None
    try:
        session = session or await service.open_session()
        known.append(await service.add_turn(session, turn.speaker, turn.text or ""))
    except SessionGone:  # it was left alone for long, or the server was started anew: its turns are at hand
        session = await service.open_session()
        known = [await service.add_turn(session, u.speaker, u.text or "") for u in conversation.utterances]
    return View([Talk(conversation, known)], session=session)


def sentence(error: SaclError) -> str:
    """An error for a person who sees no command line: what it says of options is left out."""
    remedies = [part for part in error.remedy.split("; ") if "--" not in part]
    where = f"{error.where}: " if error.where else ""
    found = error.found if where else f"{error.found[0].upper()}{error.found[1:]}"
    return " ".join([f"{where}{found}.", *(f"{remedy}." for remedy in remedies if remedy)])


def as_json(talks: Sequence[Talk], threshold: float | None) -> str:
    """What `sacl predict --json` writes."""
    documents = [conversation_object(talk.conversation, _left_open(talk, threshold)) for talk in talks]
    return json.dumps(documents, indent=1, ensure_ascii=False) + "\n"


def as_csv(talks: Sequence[Talk], threshold: float | None) -> str:
    """What `sacl predict --format csv` writes."""
    stream = io.StringIO()
    labels = list(talks[0].turns[0].probabilities)
    write_csv(((talk.conversation, _left_open(talk, threshold)) for talk in talks), labels, stream)
    return stream.getvalue()


def _left_open(talk: Talk, threshold: float | None) -> list[Recognition]:
    """Where the model has an emotion of that name, an uncertain turn could not be told from it: then none is."""
    return left_open(list(talk.turns), None if UNCERTAIN in talk.turns[0].probabilities else threshold)
