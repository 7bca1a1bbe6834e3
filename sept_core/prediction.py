"""Ranks clips among any class names with a learned prompt.

    prompt = load_prompt("my-prompt")
    predictor = Predictor(prompt, load_encoder(prompt.card["encoder"]["name"]))
    audio = predictor.embed([Path("clip.wav")])
    print(predictor.probabilities(audio, ["dog bark", "siren", "my new class"]))

Every replica of the prompt (test fold x seed) gives its own probabilities, the softmax of its logits over the given
names; the result is their mean, so that no replica has to be chosen. All names follow the learned context, whether they
were trained on or not. A learner that knows more about its training classes (DePT's head) uses it, as in evaluation, if
all of these are among the names: alone as in ``base``, with others as in ``all``. If only some of them are given, it
cannot, since it has learned to distinguish all training classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sept_core.classnames import check_names
from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.evaluation import CLIPS_AT_ONCE
from sept_core.learners import Init, Learner, Params, TrainingClips, get_learner
from sept_core.prompt_form import PROMPT_END, Wording

if TYPE_CHECKING:
    from sept_core.encoders import AudioTower, Encoder
    from sept_core.prompt import Prompt

__all__ = ["Predictor"]


class Predictor:
    """A prompt and its encoder, ready to rank.

    Args:
        prompt: The prompt.
        encoder: The encoder that it was learned with.

    Raises:
        InputError: The encoder is another one, or the prompt's values or shapes do not fit its learner.
    """

    def __init__(self, prompt: Prompt, encoder: Encoder) -> None:
        name, fingerprint = prompt.card["encoder"]["name"], prompt.card["encoder"]["fingerprint"]
        if encoder.fingerprint != fingerprint:
            raise InputError(
                f"the prompt was learned with {name} of fingerprint {fingerprint}, and these weights are "
                f"{encoder.name} of fingerprint {encoder.fingerprint}",
                where=str(prompt.card["study"]),
                fix="give the weights that the sweep was run with",
            )
        self._encoder = encoder
        self._check_hyper(prompt)
        # Prompts exported by earlier releases do not name their wording; they use the wording of that time.
        self._wording = Wording.of(prompt.card["hyper"])
        # At that time the knowledge of a learner about its training classes was not used with other names either.
        self._earlier = PROMPT_END.name not in prompt.card["hyper"]
        classes = self._wording.names(prompt.trained)
        self._learner = get_learner(str(prompt.card["baseline"]))(encoder.text, prompt.card["hyper"], classes)
        like = next(encoder.text.parameters())
        self._check_shapes(prompt, self._learner, like)
        self._params = {name: value.to(like) for name, value in prompt.params.items()}
        self._replicas = prompt.replicas
        self._audio: AudioTower | None = None
        self._encoded: tuple[tuple[str, ...], PromptBank, Tensor | None] | None = None

    @staticmethod
    def _check_hyper(prompt: Prompt) -> None:
        """Check that the card has the hyper-parameters of its learner."""
        for parameter in get_learner(str(prompt.card["baseline"])).hyper:
            try:
                parameter.check(parameter.of(prompt.card["hyper"]))
            except KeyError as error:
                raise _unfit(prompt, f"its card lacks hyper.{parameter.name}") from error
            except InputError as error:
                raise _unfit(prompt, f"its card's hyper.{parameter.name}: {error.what}") from error

    @staticmethod
    def _check_shapes(prompt: Prompt, learner: Learner, like: Tensor) -> None:
        """Check that names and shapes of the parameters are the learner's."""
        clips = None
        if learner.starts_from_clips:
            # As many as the prompt has, whichever they are.
            keys = prompt.params.get("keys", like[:0])
            count = keys.shape[1] if keys.dim() == 3 else 0
            none = torch.zeros(prompt.replicas, count, learner.tower.dim)
            clips = TrainingClips(none, torch.full(none.shape[:2], -1))
        fresh = learner.init(Init(["shape"] * prompt.replicas, like.device, like.dtype, clips))
        wanted = {name: list(value.shape) for name, value in fresh.items()}
        found = {name: list(value.shape) for name, value in prompt.params.items()}
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                raise _unfit(prompt, f"its parameters lack '{name}'")
            if name not in wanted:
                raise _unfit(prompt, f"its parameters have '{name[:100]}', which {learner.name} does not have")
            if wanted[name] != found[name]:
                raise _unfit(prompt, f"its parameter '{name}' has shape {found[name]}, not {wanted[name]}")

    def embed(self, clips: Sequence[Path | bytes | str]) -> Tensor:
        """Unit-norm features ``[clips, dim]`` of audio files or their bytes.

        Raises:
            InputError: As ``load_clip``, for the first unusable file.
        """
        from sept_core.audio.waveform import load_clip

        tower = self.audio_tower()
        windows = [tower.prepare(load_clip(clip, tower.sample_rate)) for clip in clips]
        return self.encode(torch.stack(windows)) if windows else torch.empty(0, tower.dim)

    def audio_tower(self) -> AudioTower:
        """The encoder's audio tower, loaded when it is first used."""
        if self._audio is None:
            self._audio = self._encoder.load_audio().to(next(self._encoder.text.parameters()).device)
        return self._audio

    def encode(self, windows: Tensor) -> Tensor:
        """Unit-norm features ``[clips, dim]`` of prepared windows ``[clips, window]``."""
        with torch.no_grad():
            features: Tensor = self.audio_tower()(windows.to(next(self._encoder.text.parameters()).device))
        return features

    @torch.no_grad()
    def probabilities(self, audio: Tensor, names: Sequence[str]) -> Tensor:
        """Probability of each name for each clip, ``[clips, names]`` float64 on the CPU; every row sums to 1.

        Args:
            audio: Unit-norm clip features ``[clips, dim]``.
            names: At least two class names, whether they were trained on or not.

        Raises:
            InputError: ``check_names`` refuses the names, one is too long for the text tower, two have the same tokens,
                or the result is not finite.
        """
        check_names(names)
        prompts = self._wording.names(names)
        # The training classes of a learner have an order.
        known, asked = set(self._learner.classes), set(prompts)
        trained = self._learner.classes if known == asked or (known < asked and not self._earlier) else ()
        bank, text = self._bank((*trained, *(name for name in prompts if name not in trained)))
        audio = audio.to(next(self._encoder.text.parameters()))
        total = torch.zeros(len(audio), len(bank), dtype=torch.float64)
        for replica in range(self._replicas):
            own = {name: value[replica : replica + 1] for name, value in self._params.items()}
            rows = []
            for clips in audio[None].split(CLIPS_AT_ONCE if self._learner.conditional else max(1, len(audio)), dim=1):
                features = self._learner.features(own, clips, bank) if text is None else text[replica : replica + 1]
                logits = self._logits(own, clips, features, bank.names, len(trained))
                rows.append(logits[0].double().softmax(-1).cpu())
            total += torch.cat(rows)
        mean = total / self._replicas
        if not bool(mean.isfinite().all()):
            raise InputError(
                "the prompt gives probabilities that are not finite",
                fix="use another prompt: its parameters, or the encoder's, are too large or damaged",
            )
        return mean[:, [bank.names.index(name) for name in prompts]]

    def _logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], trained: int) -> Tensor:
        """Logits ``[replicas, clips, names]`` of names; the first ``trained`` of them are the training classes."""
        known, others = text[..., :trained, :], text[..., trained:, :]
        if not trained:
            return self._learner.logits(params, audio, others, names[trained:], base=False)
        logits = self._learner.logits(params, audio, known, names[:trained], base=True)
        if trained == text.shape[-2]:
            return logits
        comparable = logits + self._learner.offset(params, audio, known)[..., None]
        return torch.cat([comparable, self._learner.logits(params, audio, others, names[trained:], base=False)], dim=-1)

    def _bank(self, names: tuple[str, ...]) -> tuple[PromptBank, Tensor | None]:
        """The tokenised names and, if they do not depend on clips, their features; cached until other names are
        given."""
        # Read once: a server calls this from several threads with different names.
        kept = self._encoded
        if kept is None or kept[0] != names:
            bank = self._wording.bank(self._encoder.text, names)
            features = None if self._learner.conditional else self._learner.features(self._params, None, bank)
            kept = self._encoded = (names, bank, features)
        return kept[1:]


def _unfit(prompt: Prompt, what: str) -> InputError:
    return InputError(
        f"the prompt cannot be used: {what}",
        where=str(prompt.card["study"])[:200],
        fix="export it again: sept export SWEEP STUDY --to DIR",
    )
