"""Shared prefix against 77-token padding and cropping, on a random GPT-2 small (12 layers, width 768).

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_prefix.py -s

Prints the ratio of forward + backward to the context at 55 prompts and 16 context tokens, timing the ways in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from plain_prompts import plain_prompts
from torch import Tensor

from sept_core.encoders import CausalTextTower, Tokens
from sept_core.encoders.gpt2 import Gpt2Block
from sept_core.encoders.prefix import PromptBank, encode_prompts

transformers = pytest.importorskip("transformers", reason="the dev extra installs transformers")

N_CTX, PAD_TO, ROUNDS = 16, 77, 3
SUBJECTS = ["dog bark", "rain", "sea waves", "baby cry", "clock tick", "person sneeze", "helicopter", "chainsaw"]
VARIANTS = ["{}", "loud {}", "distant {}", "a {} at night", "the {} of a recording", "soft {}", "{} indoors"]


class GPT2Tower(CausalTextTower):
    """transformers' own GPT-2, opened up; tokens are made from letters, since only their number matters here."""

    def __init__(self) -> None:
        super().__init__()
        self.model = transformers.GPT2Model(transformers.GPT2Config(attn_implementation="sdpa"))
        self.dim = self.token_dim = 768
        self.max_tokens = PAD_TO

    @property
    def blocks(self) -> Sequence[Gpt2Block]:
        return [Gpt2Block(block, 12) for block in self.model.h]

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        ids = [[1 + sum(map(ord, word)) % 50_000 for word in text.split()] + [50_256] for text in texts]
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        return Tokens(padded, torch.tensor([len(row) for row in ids]))

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.wte(ids)

    def place(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        return embeddings + self.model.wpe(positions)

    def readout(self, hidden: Tensor) -> Tensor:
        return self.model.ln_f(hidden)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        hidden = self.model(inputs_embeds=embeddings).last_hidden_state
        return hidden[torch.arange(len(hidden)), lengths - 1]


def test_shared_prefix_against_padding_and_cropping():
    torch.set_num_threads(1)  # as in a trial
    torch.manual_seed(0)
    tower = GPT2Tower().eval().requires_grad_(False)
    names = [variant.format(subject) for variant in VARIANTS for subject in SUBJECTS][:55]
    bank = PromptBank.of(tower, names)
    context = 0.02 * torch.randn(N_CTX, tower.token_dim)

    ways = {
        "shared": encode_prompts,
        "cropped": partial(plain_prompts, tokens=N_CTX + bank.longest),
        "padded": partial(plain_prompts, tokens=PAD_TO),
    }

    def once(way):
        learned = context.clone().requires_grad_()
        started = time.perf_counter()
        features = ways[way](tower, learned, bank)
        features.square().sum().backward()
        return time.perf_counter() - started, features.detach(), learned.grad

    once("shared")  # warm-up
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        outcome = {}
        for way, measured in seconds.items():
            took, *outcome[way] = once(way)
            measured.append(took)
    median = {way: statistics.median(measured) for way, measured in seconds.items()}
    features = max((outcome["shared"][0] - outcome[way][0]).abs().max().item() for way in ("cropped", "padded"))
    gradients = (outcome["shared"][1] - outcome["padded"][1]).norm() / outcome["padded"][1].norm()
    print(
        f"\n{len(names)} prompts, n_ctx {N_CTX}, {bank.tokens} name tokens, {torch.get_num_threads()} threads: "
        + ", ".join(f"{way} {median[way]:.2f} s" for way in seconds)
        + f"\nshared prefix is {median['padded'] / median['shared']:.1f}x faster than padding to {PAD_TO}, "
        + f"{median['cropped'] / median['shared']:.1f}x faster than cropping; "
        + f"features differ by at most {features:.1e}, context gradients by {gradients:.1e} (relative)"
    )
