"""Every setting of a run, with its unit and range. A recipe is these sections in YAML.

The defaults are the released code's MELD settings, with packed sequences and standardised features. Where the released
code and the paper differ, the setting's description names both values.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Frozen; refuses unknown keys, numbers that are not finite, and a yes/no or a text where a number belongs."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class FeatureSettings(Settings):
    """What a model reads of an utterance."""

    encoder: str = "minilm"
    """Encoder by name or path; unused where features are given as vectors."""
    pooling: Literal["mean", "first"] | None = None
    """How an encoder's token states become one vector; by default the encoder's own way."""
    layer: int = -1
    """Which layer of the encoder; -1 is the last."""
    modalities: list[str] | None = None
    """Which stored modalities to concatenate, in this order; by default all."""
    standardise: bool = True
    """Subtract the training split's mean and divide by its deviation, number by number (released: no)."""


class ModelSettings(Settings):
    """The network. What a baseline makes of a setting stands with it, in `sacl.model.baselines`."""

    kind: str = "dual_lstm"
    """dual_lstm (SACL-LSTM's), linear, bc_lstm, dialogue_rnn, dialogue_crn or transformer; or your own, as
    package.module:Class, whose code then runs."""
    hidden_size: Annotated[int, Field(ge=1, le=2**16)] = 128
    """Of each LSTM and direction."""
    layers: Annotated[int, Field(ge=1, le=100)] = 1
    """Of each LSTM."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Before the classifier, and between LSTM layers."""
    bidirectional: bool = True
    """False: a causal model that sees no later turn."""
    min_speaker_utterances: Count = 2
    """A speaker with fewer turns in a conversation has zeros for the speaker half."""
    padding: Literal["packed", "released"] = "packed"
    """`released` reads zero rows up to the longest conversation of the batch, as the authors' code does."""

    @property
    def is_own(self) -> bool:
        """Whether the kind names code outside this package, which runs when the model is built."""
        return ":" in self.kind

    @model_validator(mode="after")
    def _causal_means_causal(self) -> Self:
        if not self.bidirectional and self.min_speaker_utterances > 1:
            raise ValueError(
                "`bidirectional: false` sees no later turn, but `min_speaker_utterances` above 1 lets a speaker's "
                "first turn depend on whether a second one comes: set it to 1"
            )
        return self


Channel = Literal["context", "speaker", "input", "context_lstm", "speaker_lstm"]


class AdversarySettings(Settings):
    """The perturbation, and what becomes of its gradient."""

    kind: Literal["fgm", "pgd", "random", "virtual", "none"] = "fgm"
    """One step along the gradient; several, projected; a random direction; the direction that changes predictions most
    (no labels used); none."""
    on: list[Channel] = ["context", "speaker"]
    """What may be perturbed: of the context or the speaker LSTM the input weights and biases of the last layer
    (released), or every parameter (`context_lstm`, `speaker_lstm`: the paper's structure); or the features."""
    epsilon: Positive = 5.0
    """Length of the perturbation."""
    norm: Literal["tensor", "all"] = "tensor"
    """Whether each tensor is given the length epsilon (released) or all of them together (paper)."""
    follows: Literal["accumulated", "batch"] = "accumulated"
    """Gradient it follows: what has accumulated since the last update (released) or this batch's own (paper)."""
    keeps: Literal["clean", "all"] = "clean"
    """Gradient kept on the perturbed tensors: the clean one alone (released) or the adversarial one too (paper)."""
    steps: Count = 3
    """Of pgd."""
    step_size: Positive = 0.1
    """Of pgd, in units of epsilon's length."""
    rate: Share = 1.0
    """Share of batches on which the adversary acts."""
    shares: dict[Channel, Share] = {"context": 0.1}
    """Share of its acts on one channel alone; the rest perturbs all of `on`."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        unknown = [name for name in self.shares if name not in self.on]
        if unknown and self.kind != "none" and self.shares[unknown[0]] > 0:
            raise ValueError(
                f"`shares` names {unknown[0]!r}, which `on` does not perturb: add it there or drop it here"
            )
        if sum(self.shares.values()) > 1:
            raise ValueError(f"`shares` add up to {sum(self.shares.values()):g}: make it at most 1")
        if not self.on:
            raise ValueError("`on` is empty: name what to perturb, or set `kind: none`")
        return self


class ObjectiveSettings(Settings):
    """The soft supervised contrastive loss, clean and adversarial.

    >>> from sacl import ObjectiveSettings
    >>> ObjectiveSettings(contrast_on="hidden", adversary={"on": ["input"], "shares": {}}).adversary.epsilon
    5.0
    """

    focal_gamma: NotNegative = 1.0
    """How strongly well-recognised utterances are played down; 0 is cross-entropy (paper)."""
    class_weights: Literal["none", "train"] | list[Positive] = "none"
    """`train`: 1 / share of each class in the training split; or numbers, in label order."""
    reduction: Literal["sum", "mean"] = "sum"
    """Of the classification loss over the utterances of a batch."""
    contrastive: Literal["nt_xent", "sup_con"] = "nt_xent"
    """Released: nt_xent. Paper: sup_con."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """Released: cosine. Paper: dot product."""
    contrast_on: Literal["hidden", "log_probabilities"] = "log_probabilities"
    """Released: hidden on IEMOCAP, log-probabilities on MELD and EmoryNLP. Paper: hidden."""
    temperature: Positive = 0.1
    """Of the contrastive loss."""
    contrastive_weight: NotNegative = 0.1
    """Lambda; 0 leaves the contrastive loss out."""
    adversarial_contrastive_weight: NotNegative = 0.05
    """Lambda of the adversarial pass."""
    contrastive_scale: Literal["utterances", "one"] = "utterances"
    """The contrastive loss is multiplied by the number of utterances in the batch (released), or by one (paper)."""
    loss_divisor: Positive = 1.0
    """Both losses are divided by this (16 in the released IEMOCAP script)."""
    adversary: AdversarySettings = AdversarySettings()


class TrainingSettings(Settings):
    """The loop."""

    batch_size: Count = 16
    """Conversations a micro-batch."""
    accumulation: Count = 2
    """Micro-batches an update."""
    window: Literal["released", "exact"] = "released"
    """`released`: the first window of an epoch holds accumulation + 1 micro-batches, and an epoch of a single one never
    updates. `exact`: every window holds `accumulation`, the last one what is left."""
    learning_rate: Positive = 1e-4
    """Of Adam."""
    weight_decay: NotNegative = 2e-4
    """Of Adam, coupled (L2)."""
    epochs: Count = 100
    """At most."""
    patience: Count = 20
    """Stop when neither validation loss nor validation W-F1 improved for this many epochs."""
    select: Literal["loss", "weighted_f1"] = "loss"
    """Which validation figure picks the epoch: least loss or best W-F1."""
    threads: Count = 1
    """CPU threads, part of a run's record: so many micro-batches of an accumulation window are worked on at once, to
    the same bits. For a network of your own they share out PyTorch's operations, on which the last bits of a sum
    depend."""
    double: bool = False
    """Double precision."""
    device: str = "cpu"
    """A PyTorch device."""
    monitor_test: bool = False
    """Score the test split after every epoch too, as a column of its own; it never selects."""

    @model_validator(mode="after")
    def _device_exists(self) -> Self:
        kind = self.device.partition(":")[0]
        if kind not in {"cpu", "cuda", "mps"}:
            raise ValueError(f"unknown device {self.device!r}: use cpu, cuda, cuda:N or mps")
        return self
