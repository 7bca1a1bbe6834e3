"""BERT and RoBERTa as text towers: a start token before the learned context, at which they are pooled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sept_core.encoders.base import TextTower, Tokens
from sept_core.encoders.tokenization import tokenize_without_start
from sept_core.errors import InputError

if TYPE_CHECKING:
    from transformers import BertModel, ClapTextModel, PreTrainedTokenizerFast
    from transformers.modeling_outputs import BaseModelOutputWithPooling

__all__ = ["BertTextTower", "RobertaTextTower", "StartTokenTextTower"]


class StartTokenTextTower(TextTower):
    """A bidirectional tower for texts ``[start][tokens][end]``, pooled at the start token.

    With a context, a prompt is ``[start][context][tokens of the name][end]``. The start token belongs in front of the
    context, so ``tokenize`` does not return it: ``forward`` adds its embedding. All lengths (``Tokens.lengths``,
    ``max_tokens``, the ``lengths`` of ``forward``) therefore exclude it.

    RoBERTa's byte-pair tokens differ at the start of a text and after a space. ``tokenize`` keeps a leading space, so
    a name that follows a context gets the tokens that it has inside a sentence when it is given as ``' dog bark'``.

    Args:
        base: The transformer.
        projection: Pooled state ``[texts, width]`` to ``[texts, dim]``.
        tokenizer: Its tokenizer.
        name: The encoder's name, for messages.
        dim: Width of the joint space.
        max_tokens: Longest sequence, context and end token included, start token not.
    """

    causal = False

    def __init__(
        self,
        base: BertModel | ClapTextModel,
        projection: nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str,
        dim: int,
        max_tokens: int,
    ) -> None:
        super().__init__()
        self.base = base
        self.projection = projection
        self.dim = dim
        self.token_dim = base.config.hidden_size
        self.max_tokens = max_tokens
        self._name = name
        self._tokenizer = tokenizer

    @abstractmethod
    def pool(self, output: BaseModelOutputWithPooling) -> Tensor:
        """State of the start token ``[texts, width]``, as the projection expects it."""

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of ``texts``, without the start token and with the end token, padded on the right with 0.

        Raises:
            InputError: A text is empty, holds a special token, or has more than ``max_tokens`` tokens.
        """
        return tokenize_without_start(self._tokenizer, texts, self.max_tokens, self._name)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings ``[..., width]`` of ``ids [...]``, without positions and types."""
        return self.base.get_input_embeddings()(ids)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Un-normalised features ``[texts, dim]`` of ``embeddings [texts, length, width]`` behind the start token.

        Raises:
            InputError: ``length`` exceeds ``max_tokens``.
        """
        texts, length, _ = embeddings.shape
        if length > self.max_tokens:
            raise InputError(
                f"{length} tokens, context included, but the text tower of {self._name} takes {self.max_tokens}",
                fix="lower n_ctx or shorten the names",
            )
        device = embeddings.device
        start = self.embed(torch.full((texts, 1), self._tokenizer.cls_token_id, device=device))
        whole = torch.cat([start, embeddings], dim=1)
        mask = torch.arange(length + 1, device=device) <= lengths[:, None]
        # Without ids, both models number the positions one after another, as they do for the real tokens of a text.
        return self.projection(self.pool(self.base(inputs_embeds=whole, attention_mask=mask.long())))


class BertTextTower(StartTokenTextTower):
    """msclap-2022's text tower: the last hidden state at ``[CLS]``, projected."""

    def pool(self, output: BaseModelOutputWithPooling) -> Tensor:
        """Last hidden state of ``[CLS]`` ``[texts, width]``."""
        assert output.last_hidden_state is not None
        return output.last_hidden_state[:, 0]


class RobertaTextTower(StartTokenTextTower):
    """LAION-CLAP's text tower: the pooler's output at ``<s>``, projected."""

    def pool(self, output: BaseModelOutputWithPooling) -> Tensor:
        """Pooler's output of ``<s>`` ``[texts, width]``."""
        assert output.pooler_output is not None
        return output.pooler_output
