"""The contract of an encoder: a frozen audio tower and a frozen text tower in one space.

Shapes are written as ``[replicas, prompts, dim]``. Widths: ``token_dim`` is the width of a token embedding (and of a
learned context vector), ``dim`` the width of the joint space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sept_core.datasets.pretraining import Pretraining
from sept_core.errors import InputError

__all__ = [
    "AudioTower",
    "CausalBlock",
    "CausalTextTower",
    "Encoder",
    "Preparation",
    "TextTower",
    "Tokens",
    "refuse_special",
    "run_blocks",
]

Preparation = Callable[[Tensor], Tensor]
"""Maps a mono clip ``[samples]`` to a window ``[window]``."""

# Features of plain texts that a tower caches: 256 MB at 1024 floats each; the largest study has some 5,000.
_KEPT_TEXTS = 65_536


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids.

    Attributes:
        ids: int64 ``[texts, length]``, padded on the right to the longest text.
        lengths: int64 ``[texts]``, number of real tokens of each text (at least 1).
    """

    ids: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return int(self.ids.shape[0])


def refuse_special(texts: Sequence[str], special: Iterable[str]) -> None:
    """Check that no text contains one of a tokenizer's special tokens, such as ``<|endoftext|>`` or ``[SEP]``.

    Inside a text it would be read as the token itself and end, pad or mask the text.

    Raises:
        InputError: One does, in upper or lower case: names are lower-cased.
    """
    for token in special:
        for text in texts:
            if token.casefold() in text.casefold():
                raise InputError(
                    f"the text {text.strip()!r} contains {token}, a special token of the text tower",
                    fix="take it out of the name",
                )


class AudioTower(nn.Module, ABC):
    """Maps waveforms to unit-norm features. Frozen: always in ``eval()`` and without gradients.

    Attributes:
        dim: Width of the joint space.
        sample_rate: Hz that ``forward`` expects.
        seconds: Length of the window that one feature describes; ``prepare`` fits any clip to it.
    """

    dim: int
    sample_rate: int
    seconds: float

    @abstractmethod
    def preparation(self) -> Preparation:
        """The function that fits a clip to the window, deterministically.

        It can be pickled and holds no weights: clips are decoded and encoded in different processes.
        """

    def prepare(self, waveform: Tensor) -> Tensor:
        """Fit one mono clip ``[samples]`` at ``sample_rate`` to the fixed window ``[window]``."""
        return self.preparation()(waveform)

    @abstractmethod
    def forward(self, windows: Tensor) -> Tensor:
        """Encode prepared windows ``[clips, window]`` to unit-norm features ``[clips, dim]``."""


class TextTower(nn.Module, ABC):
    """Maps token embeddings to features. Frozen; gradients flow *through* it to a learned context, never into it.

    Attributes:
        dim: Width of the joint space.
        token_dim: Width of a token embedding.
        max_tokens: Longest sequence (context included) that the positions allow.
        causal: Whether a token attends only to those before it; then the shared prefix (``prefix.py``) applies.
    """

    dim: int
    token_dim: int
    max_tokens: int
    causal: bool

    def __init__(self) -> None:
        super().__init__()
        self._encoded: OrderedDict[tuple[tuple[str, ...], torch.device, torch.dtype], Tensor] = OrderedDict()

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Tokenise plain texts exactly as the tower was trained on them (with its end token, if any).

        Raises:
            InputError: A text has no token or too many, or contains a special token (`refuse_special`).
        """

    def words(self, text: str) -> Tensor:
        """Ids ``[tokens]`` with which every text that starts with these words begins: without an end token."""
        alone, followed = (self.tokenize([words]).ids[0] for words in (text, f"{text} a"))
        size = min(len(alone), len(followed))
        return alone[: int((alone[:size] == followed[:size]).cumprod(0).sum())]

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings ``[..., token_dim]`` of ids ``[...]``, without positions."""

    @abstractmethod
    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Encode ``[texts, length, token_dim]`` with ``lengths [texts]`` real positions each.

        Adds the positions itself. Returns *un-normalised* features ``[texts, dim]`` pooled as the tower was trained.
        The content of padded positions must not change the result.
        """

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Un-normalised features ``[texts, dim]`` of plain texts, without gradients; not to be changed in place.

        They have the precision of the weights, in a training in bfloat16 too.

        A frozen tower caches what it has encoded: hand-crafted prompts, the neighbours of margins and anchors are the
        same for all trials of a study. The cache has whole lists, never single texts: the last digits of a feature
        depend on the batch in which it was computed, and a trial must not depend on what ran before it.
        """
        parameter = next(self.parameters())
        key = (tuple(texts), parameter.device, parameter.dtype)
        if key in self._encoded:
            self._encoded.move_to_end(key)
            return self._encoded[key]
        with torch.no_grad(), torch.autocast(parameter.device.type, enabled=False):
            tokens = self.tokenize(texts)
            features: Tensor = self(self.embed(tokens.ids.to(parameter.device)), tokens.lengths.to(parameter.device))
        if not parameter.requires_grad:
            self._keep(key, features)
        return features

    def kept(self) -> dict[tuple[str, ...], Tensor]:
        """The features that `encode` computed on the CPU in float32 and cached, by list of texts."""
        return {
            texts: features
            for (texts, device, dtype), features in self._encoded.items()
            if (device.type, dtype) == ("cpu", torch.float32)
        }

    def keep(self, kept: Mapping[tuple[str, ...], Tensor]) -> None:
        """Add features that a tower with the same weights has cached: float32 ``[texts, dim]`` by the list of texts."""
        for texts, features in kept.items():
            self._keep((texts, torch.device("cpu"), torch.float32), features)

    def forget(self) -> None:
        """Empty the cache."""
        self._encoded.clear()

    def _keep(self, key: tuple[tuple[str, ...], torch.device, torch.dtype], features: Tensor) -> None:
        self._encoded[key] = features
        while sum(len(kept) for kept in self._encoded.values()) > _KEPT_TEXTS:
            self._encoded.popitem(last=False)


class CausalBlock(Protocol):
    """One pre-norm transformer block, opened up so that ``prefix.py`` can run context and names separately.

    ``x`` is ``[..., token, width]`` throughout; the number of heads divides ``width``.
    """

    heads: int

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Norm, then query, key and value, each ``[..., token, width]`` (heads still concatenated)."""
        ...

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual of the projected attention output ``[..., token, width]``, then residual of the MLP."""
        ...


def run_blocks(blocks: Iterable[CausalBlock], x: Tensor) -> Tensor:
    """Run ``x [texts, token, width]`` through the blocks with causal attention; the result has the same shape."""
    for block in blocks:
        query, key, value = (part.unflatten(-1, (block.heads, -1)).transpose(-2, -3) for part in block.qkv(x))
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = block.merge(x, attended.transpose(-2, -3).flatten(-2))
    return x


class CausalTextTower(TextTower):
    """A causal text tower: a token does not depend on later ones, so a shared context is computed once.

    Attention is softmax(q k^T / sqrt(width / heads)) with a causal mask.
    """

    causal = True

    @property
    def start(self) -> Tensor | None:
        """Embeddings ``[tokens, token_dim]`` that precede every text and every context; None if there are none.

        ``tokenize`` does not return these tokens, and no length counts them: neither ``Tokens.lengths`` nor
        ``max_tokens`` nor the ``lengths`` of ``forward``.
        """
        return None

    @property
    @abstractmethod
    def blocks(self) -> Sequence[CausalBlock]:
        """The blocks, first to last."""

    @abstractmethod
    def place(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Input of the first block: ``embeddings [..., token, token_dim]`` at ``positions [..., token]`` (int64)."""

    @abstractmethod
    def readout(self, hidden: Tensor) -> Tensor:
        """Final norm and projection of pooled hidden states ``[..., width]`` to features ``[..., dim]``."""

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Un-normalised features ``[texts, dim]`` of ``embeddings [texts, length, token_dim]``, pooled at the last
        token.

        Raises:
            InputError: ``length`` exceeds ``max_tokens``.
        """
        texts, length, _ = embeddings.shape
        if length > self.max_tokens:
            raise InputError(
                f"{length} tokens, context included, but the text tower takes {self.max_tokens}",
                fix="lower n_ctx or shorten the names",
            )
        start = self.start
        if start is not None:
            embeddings = torch.cat([start.expand(texts, -1, -1), embeddings], dim=1)
            lengths = lengths + len(start)
        x = self.place(embeddings, torch.arange(embeddings.shape[1], device=embeddings.device))
        x = run_blocks(self.blocks, x)
        return self.readout(x[torch.arange(texts, device=x.device), lengths - 1])


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder.

    Attributes:
        name: Registry name, such as ``mini``.
        text: The text tower, frozen and in ``eval()``.
        load_audio: Loads the audio tower; called only to encode audio, never in a trial.
        logit_scale: The scale that the encoder was trained with (multiplies the cosine).
        fingerprint: 16 hex digits over weights and preprocessing; identifies embeddings and is part of every signature.
        pretraining: Its pretraining data; trials use none of it.
    """

    name: str
    text: TextTower
    load_audio: Callable[[], AudioTower]
    logit_scale: float
    fingerprint: str
    pretraining: Pretraining = field(default_factory=Pretraining)
