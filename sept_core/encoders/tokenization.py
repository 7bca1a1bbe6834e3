"""Tokenizers of pretrained text towers, loaded from a local folder; ids as padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from sept_core.encoders.base import Tokens, refuse_special
from sept_core.encoders.weights import reason
from sept_core.errors import InputError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerFast

    Kind = TypeVar("Kind", bound=PreTrainedTokenizerFast)

__all__ = [
    "TOKENIZER_FILES",
    "has_tokenizer",
    "load_tokenizer",
    "pad_tokens",
    "tokenize_without_start",
    "tokenizer_files",
]

# All files that can change the ids of a text. ``config.json`` is the text model's.
TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
# Each of these sets is a complete tokenizer.
_WHOLE = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))


def has_tokenizer(folder: Path) -> bool:
    """Whether ``folder`` contains the files of a tokenizer."""
    return any(all((folder / name).is_file() for name in names) for names in _WHOLE)


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """Role -> path of the tokenizer's files in ``folder``, for a fingerprint."""
    return {f"tokenizer/{name}": folder / name for name in TOKENIZER_FILES if (folder / name).is_file()}


def load_tokenizer(kind: type[Kind], folder: Path, vocab_size: int) -> Kind:
    """Load a tokenizer of class ``kind`` from ``folder``, without network.

    Args:
        kind: Tokenizer class of transformers.
        folder: Folder with ``tokenizer.json``, or with the vocabulary that ``kind`` reads.
        vocab_size: Rows of the text model's embedding table.

    Raises:
        InputError: Files are missing or damaged, or are of another model.
    """
    fix = f"give a folder with the files of a {kind.__name__}"
    if not folder.is_dir() or not has_tokenizer(folder):
        raise InputError("there is no tokenizer in this folder", where=str(folder), fix=fix)
    try:
        tokenizer = kind.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"the tokenizer cannot be read ({reason(error)})", where=str(folder), fix=fix) from error
    if len(tokenizer) > vocab_size:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens, the text model {vocab_size}", where=str(folder), fix=fix
        )
    return tokenizer


def tokenize_without_start(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], max_tokens: int, encoder: str
) -> Tokens:
    """Ids of ``texts`` by a tokenizer that adds one start token and one end token: without the start token.

    Args:
        tokenizer: The tokenizer.
        texts: Plain texts.
        max_tokens: Longest text, end token included, start token not.
        encoder: Name of the encoder, for messages.

    Raises:
        InputError: A text is empty, contains a special token, or has more than ``max_tokens`` tokens.
    """
    refuse_special(texts, tokenizer.all_special_tokens)
    encoded: BatchEncoding | dict[str, list[list[int]]] = tokenizer(list(texts)) if texts else {"input_ids": []}
    ids = [row[1:] for row in encoded["input_ids"]]
    for text, row in zip(texts, ids, strict=True):
        if len(row) < 2 or not text.strip():
            raise InputError(f"the text {text!r} has no tokens", fix="give every class and neighbour a name")
    return pad_tokens(texts, ids, max_tokens, encoder)


def pad_tokens(texts: Sequence[str], ids: Sequence[Sequence[int]], max_tokens: int, encoder: str) -> Tokens:
    """Ids of each text, padded on the right with 0.

    Raises:
        InputError: A text has more than ``max_tokens`` tokens.
    """
    for text, row in zip(texts, ids, strict=True):
        if len(row) > max_tokens:
            raise InputError(
                f"the text '{text[:40]}...' has {len(row)} tokens, the text tower of {encoder} takes {max_tokens}",
                fix="shorten it",
            )
    lengths = torch.tensor([len(row) for row in ids], dtype=torch.int64)
    padded = torch.zeros(len(ids), max((len(row) for row in ids), default=0), dtype=torch.int64)
    for target, row in zip(padded, ids, strict=True):
        target[: len(row)] = torch.tensor(row)
    return Tokens(padded, lengths)
