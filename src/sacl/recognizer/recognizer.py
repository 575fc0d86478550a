"""The recognizer: one object from a trained model to emotions of conversations, whatever way they come in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import numpy as np

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.errors import DataError, FeatureError, RecipeError
from sacl.features.corpus import features_of
from sacl.features.encoder import Encoder
from sacl.formats import Columns
from sacl.recognizer.influence import Influence, influences, position_of
from sacl.recognizer.inputs import DataFrameLike, Given, conversations_of
from sacl.recognizer.recognition import Recognition, check_threshold, recognitions
from sacl.recognizer.sources import load_model
from sacl.recognizer.stream import Stream
from sacl.training.trained import TrainedModel

Progress = Callable[[str, int, int], None]


class EmotionRecognizer:
    """Names the emotion of every utterance of a conversation.

    Args:
        trained: the model.
        encoder: what makes vectors of texts; by default the one that the model names.

    >>> from sacl import EmotionRecognizer
    >>> recognizer = EmotionRecognizer.from_pretrained()
    >>> [turn.emotion for turn in recognizer.predict([("Ann", "I got the job!"), ("Bo", "Leave me alone! Get out!")])]
    ['joy', 'anger']
    """

    def __init__(self, trained: TrainedModel, encoder: Encoder | None = None) -> None:
        self.trained = trained
        if encoder is None and trained.encoder is not None:
            encoder = Encoder.from_identity(trained.encoder)
        self.encoder = encoder
        self.held_out: tuple[str, ...] = ()
        """Ids of the conversations that `fit` held out for validation; empty where there were none."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        causal: bool = False,
        revision: str | None = None,
        trust_code: bool = False,
    ) -> EmotionRecognizer:
        """The model that ships with the package, one of a folder or a file, or one of the Hugging Face hub.

        Args:
            source: nothing for the shipped model; a run's folder (of several seeds the one with the best validation
                W-F1 is taken), one of its seeds' folders, what `save_pretrained` wrote, or a model file; or
                `owner/name` on the hub, if nothing on this machine has that name.
            causal: the shipped model that reads no later turn, for `stream`; of another source it is required.
            revision: branch, tag or commit on the hub.
            trust_code: run the Python code that a model of your own kind names (see `TrainedModel.load`).

        Raises:
            ModelError: there is no model, it is damaged, or it is not causal. FeatureError: its encoder is not to be
                found.
        """
        return cls(load_model(source, causal=causal, revision=revision, trust_code=trust_code))

    @classmethod
    def fit(
        cls,
        conversations: Given,
        *,
        valid: Given | None = None,
        labels: Sequence[str] | LabelSet | None = None,
        init: EmotionRecognizer | str | os.PathLike[str] | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        columns: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> EmotionRecognizer:
        """A recognizer trained on labelled conversations of your own, any label names.

        Args:
            conversations: as for `predict`, with emotions; those without one are context.
            valid: what selects the epoch and calibrates; by default 15 % of the conversations, whole ones drawn by the
                seed: `held_out` names them.
            labels: the emotions in order; by default those that occur.
            init: a recognizer, or what `from_pretrained` takes: start from its weights, with its encoder and settings;
                its classifier is kept if the labels are the same.
            seed: of everything random.
            progress: called as progress("encode", ...) and progress("train", epoch, most epochs).
            columns: as for `predict`, and `emotion`.
            **settings: those of a recipe by their bare names (`epochs=10`, `bidirectional=False`), on top of the
                recipe `sample`.

        Raises:
            DataError: too few conversations or labels. RecipeError: an unknown setting, or one out of range.
            FeatureError: `init` reads vectors, and texts are given. SaclError: see `predict`.

        >>> from sacl import EmotionRecognizer, load_corpus
        >>> mine = EmotionRecognizer.fit(load_corpus("sample")["valid"][:10], epochs=1)
        """
        from sacl.recognizer.fitting import divide, encoded, fitted, settings_of

        if init is not None and not isinstance(init, EmotionRecognizer):
            init = cls.from_pretrained(init)
        names = _columns(columns)
        start = None if init is None else init.trained
        recipe = settings_of(settings, start)
        train = list(conversations_of(conversations, names)[0])
        chosen = None if valid is None else list(conversations_of(valid, names)[0])
        division = divide(train, chosen, labels, start, seed)

        def encoder() -> Encoder:
            if init is None:
                s = recipe.features
                return Encoder.load(s.encoder, pooling=s.pooling, layer=s.layer)
            if init.encoder is None:
                raise FeatureError(
                    "the model to start from reads vectors and has no encoder", where="fit", remedy="Give vectors"
                )
            return init.encoder

        vectors, used = encoded(division.corpus, encoder, progress)
        recognizer = cls(fitted(division.corpus, vectors, used, recipe, start, seed, progress), used)
        recognizer.held_out = division.held_out
        return recognizer

    @property
    def labels(self) -> LabelSet:
        """The emotions that it knows."""
        return self.trained.labels

    @overload
    def predict(
        self,
        given: Conversation | Mapping[str, Any] | Sequence[tuple[str, str]],
        progress: Progress | None = None,
        *,
        threshold: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> list[Recognition]: ...

    @overload
    def predict(
        self,
        given: Iterable[Conversation] | str | os.PathLike[str] | DataFrameLike | Iterable[Mapping[str, Any]],
        progress: Progress | None = None,
        *,
        threshold: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> list[list[Recognition]]: ...

    def predict(
        self,
        given: Given,
        progress: Progress | None = None,
        *,
        threshold: float | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> list[Recognition] | list[list[Recognition]]:
        """Emotions of one conversation, or of several.

        Args:
            given: one conversation: a `Conversation`, or (speaker, text) pairs. Or several, whose results are one list
                each: conversations, a file (`read_conversations`), a table (pandas, Polars, Arrow) or rows as dicts
                (Hugging Face data sets); a table without a column `conversation` is a single one.
            progress: told of the encoding.
            threshold: where no emotion is as probable as this, `emotion` is "uncertain"; in [0, 1].
            columns: names of a table's columns, where they are others than `speaker`, `text` and `conversation`:
                `{"speaker": "from", "text": "body"}`.

        Raises:
            DataError: no utterances, or something that is not said to be read. RecipeError: a threshold that is no
                probability. FeatureError: vectors that do not fit the model, or texts it has no encoder for.
        """
        conversations, is_one = conversations_of(given, _columns(columns, labels=False))
        results = list(self.predict_many(conversations, progress=progress, threshold=threshold))
        return results[0] if is_one else results

    def predict_many(
        self,
        conversations: Iterable[Conversation],
        chunk: int = 256,
        progress: Progress | None = None,
        threshold: float | None = None,
    ) -> Iterator[list[Recognition]]:
        """Emotions of many conversations, in order, one list each, while they are read.

        Args:
            conversations: any number; a file's, `read_conversations`, may be larger than memory.
            chunk: how many are held at a time, and read by the model together.
            progress, threshold: as for `predict`.

        Raises:
            SaclError: as for `predict`, once the chunk that is at fault is reached.
        """
        check_threshold(threshold, self.labels)
        stream = iter(conversations)
        while held := list(islice(stream, chunk)):
            # Ids need not be distinct in a stream of files.
            distinct = len({c.id for c in held}) == len(held)
            numbered = [Conversation(c.id if distinct else f"{i} ({c.id})", c.utterances) for i, c in enumerate(held)]
            scores = self.trained.log_probabilities(self._items(numbered, progress))
            for conversation, log_probabilities in zip(held, scores, strict=True):
                yield recognitions(self.trained, conversation.utterances, log_probabilities, threshold)

    def encode(
        self,
        conversation: Conversation | Mapping[str, Any] | Sequence[tuple[str, str]],
        progress: Progress | None = None,
    ) -> Conversation:
        """The conversation with its vectors, so that whatever reads it next need not make them again.

        Encoding is most of the work. Results are the same with the vectors and without.

        Args:
            conversation: one, as for `predict`.
            progress: told of the encoding.

        Raises:
            DataError: more conversations than one. FeatureError: there is no encoder, or some utterances have a vector
                and others have none.
        """
        one = _only_one(conversation)
        if all(u.vector is not None for u in one.utterances):
            return one
        vectors = self._vectors(Corpus("input", self.labels, {"all": [_unlabelled(one)]}), progress)[0]
        return Conversation(one.id, [replace(u, vector=v) for u, v in zip(one.utterances, vectors, strict=True)])

    def stream(self, threshold: float | None = None) -> Stream:
        """A conversation that goes on, read turn by turn; the model must be causal.

        Raises:
            ModelError: it reads later turns too. RecipeError: a threshold that is no probability.

        >>> from sacl import EmotionRecognizer
        >>> EmotionRecognizer.from_pretrained(causal=True).stream().add("Ann", "I got the job!").emotion
        'joy'
        """
        return Stream(self.trained, self.encoder, threshold)

    def influence(
        self,
        conversation: Conversation | Mapping[str, Any] | Sequence[tuple[str, str]],
        utterance: int | str,
        nearest: int = 200,
        *,
        cancelled: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> list[Influence]:
        """How much each other turn moved the probability of an utterance's most probable emotion, by occlusion.

        A turn is occluded by setting its vector to zero; the turn itself stays, and so does its speaker. Where features
        are standardised, zero is the average utterance; where they are not, it is zero all the same.

        Args:
            conversation: one.
            utterance: its position, or its id.
            nearest: how many other turns are looked at, those closest to it.
            cancelled: asked between batches; if it says yes, nothing is returned.
            progress: called as progress("influence", turns done, turns in all).

        Returns:
            One a turn, in the order of the conversation.

        Raises:
            DataError: there is no such utterance, or more conversations than one. RecipeError: `nearest` below 0.
            concurrent.futures.CancelledError: it was cancelled.
        """
        if not isinstance(nearest, Integral) or isinstance(nearest, bool) or nearest < 0:
            raise RecipeError(f"nearest is {nearest!r}", remedy="Give a number of turns, 200 say")
        one = _only_one(conversation)
        target = position_of(one, utterance)
        [item] = self._items([one], None)
        return influences(self.trained, one, item, target, nearest, cancelled, progress)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `model.safetensors` and, if there is none yet, a card (`README.md`) into a folder, made if need be.

        Raises:
            ModelError: it cannot be written.
        """
        from sacl.recognizer.sharing import save_folder

        return save_folder(self.trained, Path(folder))

    def push_to_hub(
        self, name: str, *, private: bool = True, token: str | None = None, message: str = "Upload a sacl model"
    ) -> str:
        """Uploads the model and its card to the Hugging Face hub; returns the address.

        Args:
            name: `owner/name`; made if it is not there.
            private: of one that is made: whether only you can see it.
            token: by default the one that `hf auth login` left.
            message: of the commit.

        Raises:
            ModelError: no such name, an encoder that others cannot have, or the hub refuses it.
        """
        from sacl.recognizer.sharing import push

        return push(self.trained, name, private, token, message)

    def _items(self, conversations: list[Conversation], progress: Progress | None) -> list[Any]:
        """What the model reads of conversations of distinct ids."""
        unlabelled = [_unlabelled(c) for c in conversations]
        vectors = self._vectors(Corpus("input", self.labels, {"all": unlabelled}), progress)
        return self.trained.items(unlabelled, vectors)

    def _vectors(self, corpus: Corpus, progress: Progress | None) -> list[np.ndarray]:
        """One (utterances, features) array a conversation, not standardised; nothing is written to disk."""
        if self.encoder is None or any(u.vector is not None for u in corpus.utterances()):
            return features_of(corpus).rows("all")
        flat = self.encoder.encode([u.text or "" for u in corpus.utterances()], progress=progress)
        return np.split(flat, np.cumsum([len(c) for c in corpus["all"]])[:-1])


def _only_one(given: Conversation | Mapping[str, Any] | Sequence[tuple[str, str]]) -> Conversation:
    conversations, is_one = conversations_of(given, Columns())
    if not is_one:
        raise DataError("these may be several conversations", remedy="Give one Conversation, or its pairs")
    return next(conversations)


def _unlabelled(conversation: Conversation) -> Conversation:
    """Labels of what is to be recognised are not looked at: they may be others than the model's."""
    turns = [Utterance(u.speaker, u.text, id=u.id, vector=u.vector) for u in conversation.utterances]
    return Conversation(conversation.id, turns)


def _columns(names: Mapping[str, str] | None, labels: bool = True) -> Columns:
    try:
        given: dict[str, Any] = {} if labels else {"emotion": None}
        return Columns(**given | dict(names or {}))
    except TypeError:
        raise DataError(
            f"these are no names of columns: {names!r:.80}",
            where="columns",
            remedy='Give a dict such as {"speaker": "from", "text": "body", "conversation": "chat"}',
        ) from None
