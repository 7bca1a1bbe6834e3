"""One training step as in published code, for comparison with ours.

One replica after the other, every prompt padded to 77 tokens, the batch's waveforms through the audio tower in every
step (already decoded, which published code does each time too), torch's own SGD. The text tower is msclap-2023's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sept_core.encoders import AudioTower
from sept_core.encoders.gpt2 import Gpt2TextTower
from sept_core.training import MOMENTUM

from .study import Study

__all__ = ["PlainReference", "PlainTraining"]

PAD_TO, HEAD_LR = 77, 6.5


class PaddedPrompts:
    """Names after a context, each prompt padded to 77 tokens, as msclap pads and pools a text."""

    def __init__(self, study: Study, names: tuple[str, ...]) -> None:
        assert isinstance(study.tower, Gpt2TextTower)
        self.tower = study.tower
        n_ctx = study.config.n_ctx
        tokens = self.tower.tokenize([f" {name}." for name in names])
        ids = F.pad(tokens.ids, (0, PAD_TO - n_ctx - tokens.ids.shape[1])).to(study.device)
        self.suffix = self.tower.base.wte(ids)  # [names, 77 - n_ctx, width]
        self.last = n_ctx + tokens.lengths.to(study.device) - 1
        self.mask = (torch.arange(PAD_TO, device=study.device) <= self.last[:, None]).long()

    def encode(self, context: Tensor) -> Tensor:
        """Unit-norm features ``[names, dim]`` after ``context [n_ctx, width]``."""
        count = len(self.suffix)
        prompts = torch.cat([context.expand(count, -1, -1), self.suffix], dim=1)
        hidden = self.tower.base(inputs_embeds=prompts, attention_mask=self.mask, use_cache=False).last_hidden_state
        pooled = hidden[torch.arange(count, device=hidden.device), self.last]
        return F.normalize(self.tower.projection(pooled), dim=-1)


class PlainTraining:
    """One replica: parameters, SGD, and a step."""

    def __init__(self, reference: PlainReference, start: dict[str, Tensor], windows: Tensor, labels: Tensor) -> None:
        self.reference, self.windows, self.labels = reference, windows, labels
        self.params = {name: nn.Parameter(value.clone()) for name, value in start.items()}
        lr = float(reference.study.hyper["lr"])
        groups = [
            {"params": [value], "lr": lr * (HEAD_LR if name.startswith(("film", "head")) else 1.0)}
            for name, value in self.params.items()
        ]
        self.optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)

    def step(self) -> dict[str, float]:
        """One step on the whole batch; its losses."""
        losses = self.reference.losses(self.params, self.windows, self.labels)
        self.optimizer.zero_grad()
        losses["total"].backward()
        self.optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}


class PlainReference:
    """The losses of every baseline for one replica, written as in their papers."""

    def __init__(self, study: Study, audio: AudioTower) -> None:
        self.study, self.audio = study, audio
        self.scale = study.learner.logit_scale
        terms = () if study.semantic is None else study.semantic.bank.names[len(study.classes) :]
        self.classes = PaddedPrompts(study, study.classes)
        self.everything = PaddedPrompts(study, (*study.classes, *terms))
        if study.baseline == "kgcoop":
            texts = [str(study.hyper["template"]).replace("{}", name) for name in study.classes]
            self.anchors = F.normalize(study.tower.encode(texts), dim=-1)

    def losses(self, params: dict[str, nn.Parameter], windows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``total``, ``base`` and with SEPT ``intra`` and ``inter`` of one batch of waveforms."""
        with torch.no_grad():
            audio = self.audio(windows)  # [clips, dim]
        if self.study.baseline == "cocoop":
            everything = self.everything.encode(self.shifted(params, audio.mean(0))) if self.study.sept else None
            base = self.cocoop(params, audio, labels)
        else:
            everything = self.everything.encode(params["ctx"])
            base = self.unconditional(params, audio, labels, everything[: len(self.study.classes)])
        if self.study.semantic is None or everything is None:
            return {"total": base, "base": base}
        intra, inter = self.expansion(everything)
        return {
            "total": base + self.study.semantic.weight * (intra + inter),
            "base": base,
            "intra": intra,
            "inter": inter,
        }

    def unconditional(self, params: dict[str, nn.Parameter], audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """CoOp, KgCoOp or DePT with class features ``text [classes, dim]``."""
        similarity = F.cross_entropy(self.scale * audio @ text.T, labels)
        if self.study.baseline == "kgcoop":
            return similarity + float(self.study.hyper["kg_weight"]) * (1 - (text * self.anchors).sum(-1).mean())
        if self.study.baseline == "dept":
            weight = float(self.study.hyper["dept_weight"])
            sides = []
            for side, features in (("text", text[labels]), ("audio", audio)):
                filmed = params[f"film_{side}.scale"] * features + params[f"film_{side}.bias"]
                sides.append(F.linear(filmed, params["head.weight"], params["head.bias"]))
            head = F.cross_entropy(torch.cat(sides), torch.cat([labels, labels]))
            return (1 - weight) * similarity + weight * head
        return similarity

    def cocoop(self, params: dict[str, nn.Parameter], audio: Tensor, labels: Tensor) -> Tensor:
        """Every clip's own prompts, one clip after the other as in the authors' code."""
        logits = [self.scale * self.classes.encode(self.shifted(params, clip)) @ clip for clip in audio]
        return F.cross_entropy(torch.stack(logits), labels)

    def shifted(self, params: dict[str, nn.Parameter], clip: Tensor) -> Tensor:
        """CoCoOp's context for ``clip [dim]``."""
        hidden = F.relu(F.linear(clip, params["meta1.weight"], params["meta1.bias"]))
        return params["ctx"] + F.linear(hidden, params["meta2.weight"], params["meta2.bias"])

    def expansion(self, everything: Tensor) -> tuple[Tensor, Tensor]:
        """SEPT's two hinges from the features of the classes and, class by class, their neighbours."""
        assert self.study.semantic is not None
        size = len(self.study.classes)
        margins = self.study.semantic.inter.flatten(1)  # [classes, classes * neighbours]
        distances = (everything[:size, None] - everything[None, size:]).norm(dim=-1)
        own = torch.eye(size, dtype=torch.bool, device=margins.device).repeat_interleave(margins.shape[1] // size, 1)
        return F.relu(distances - margins)[own].mean(), F.relu(margins - distances)[~own].mean()
