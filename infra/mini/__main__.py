"""The command that trains the shipped weights: ``python -m infra.mini``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.mini.audio import AudioTraining, draw_prompts, train_audio
from infra.mini.clips import (
    SEEN_FOLDS,
    SEEN_SPEAKERS,
    real_clips,
    spectrograms,
    synthetic_clips,
)
from infra.mini.text import (
    TextTraining,
    agreement,
    embed_phrases,
    train_text,
    train_tokenizer,
)
from infra.mini.vocabulary import DIGITS, ESC10, TEMPLATES, Concept, read_vocabulary
from sept_core.encoders.mini.audio import MiniAudioConfig, MiniAudioTower
from sept_core.encoders.mini.loading import WEIGHTS
from sept_core.encoders.mini.text import MiniTextConfig, MiniTextTower
from sept_core.encoders.mini.weightfiles import write_weights
from sept_core.errors import InputError

# ESC-50 and its subset of human sounds contain the clips of ESC-10.
SEEN = {"ESC10": SEEN_FOLDS, "ESC50": SEEN_FOLDS, "ESC50-Actions": SEEN_FOLDS, "FSDD": SEEN_SPEAKERS}
# Held-out concepts come from the additional words of the vocabulary, never from a class of the benchmark.
WIDENING = ("household", "tools and machines", "animals", "weather and nature", "vehicles")


@dataclass(frozen=True)
class Plan:
    """The settings of a pretraining.

    Attributes:
        text: Settings of the text tower.
        audio: Settings of the audio tower.
        synthetic: Synthesised clips per recipe; 0 for none.
        sections: Sections of the vocabulary to use; empty for all.
        names: Maximum number of names per concept; 0 for all.
        every: Use every n-th recording.
        seed: Seed of all random numbers.
    """

    text: TextTraining = field(default_factory=TextTraining)
    audio: AudioTraining = field(default_factory=AudioTraining)
    synthetic: int = 14
    sections: tuple[str, ...] = ()
    names: int = 0
    every: int = 1
    seed: int = 0


# The same steps on a few words and recordings, in seconds: only shows that the command works.
QUICK = Plan(
    text=TextTraining(vocab_size=600, steps=4, batch=16),
    audio=AudioTraining(steps=3, batch=4),
    synthetic=0,
    sections=("esc10", "digits"),
    names=2,
    every=40,
)


def pretrain(esc10: Path, fsdd: Path, out: Path, plan: Plan, *, console: Console) -> None:
    """Train both towers and write the encoder's files to ``out``.

    Raises:
        InputError: A folder has no clips of its dataset, or the teacher is not installed.
    """
    started = time.monotonic()
    recordings = real_clips(esc10, fsdd)[:: plan.every]
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    generator = torch.Generator().manual_seed(plan.seed)
    concepts = [
        replace(concept, names=concept.names[: plan.names or None])
        for concept in read_vocabulary()
        if not plan.sections or concept.section in plan.sections
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        text = _words(concepts, out, plan, generator, console, progress)
        config = MiniAudioConfig()
        ear = MiniAudioTower(config)
        sounds = spectrograms(recordings, ear, progress=progress)
        if plan.synthetic:
            sounds = sounds + synthetic_clips(plan.synthetic, ear, progress=progress)
        prompts = draw_prompts(text, concepts, tuple(dict.fromkeys((*ESC10, *DIGITS, *sounds.labels))))
        audio, scale = train_audio(sounds, prompts, config, plan.audio, generator=generator, progress=progress)
    write_weights(audio, out / "audio.safetensors")
    meta = {"text": asdict(text.config), "audio": asdict(config), "logit_scale": round(scale, 3), "seen_folds": SEEN}
    seen = {kind: [clip.path.stem for clip in recordings if clip.kind == kind] for kind in ("esc10", "fsdd")}
    (out / "config.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    (out / "clips_seen.json").write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
    console.print(f"{len(sounds.labels)} clips of {len(prompts.classes)} classes; logit scale {scale:.2f}")
    console.print(f"written to {out} after {(time.monotonic() - started) / 60:.1f} minutes", soft_wrap=True)


def _words(
    concepts: list[Concept], out: Path, plan: Plan, generator: torch.Generator, console: Console, progress: Progress
) -> MiniTextTower:
    """Train and write tokenizer and text tower."""
    tokenizer = train_tokenizer(concepts, plan.text.vocab_size)
    config = MiniTextConfig(vocab_size=tokenizer.get_vocab_size())
    phrases = embed_phrases(concepts, tokenizer, config.dim, progress=progress)
    held_out = _held_out(concepts, plan.text.held_out, generator)
    tower = train_text(phrases, held_out, tokenizer, config, plan.text, generator=generator, progress=progress)
    tokenizer.save(str(out / "tokenizer.json"))
    write_weights(tower, out / "text.safetensors")
    names = sum(len(concept.names) for concept in concepts)
    console.print(f"{len(concepts)} concepts, {names} names, {len(TEMPLATES)} templates")
    if len(held_out) > 1:
        cosine, spearman = agreement(tower, phrases, held_out)
        console.print(f"{len(held_out)} unseen concepts: cosine to the teacher {cosine:.3f}, Spearman {spearman:.3f}")
    return tower


def _held_out(concepts: list[Concept], share: float, generator: torch.Generator) -> torch.Tensor:
    free = torch.tensor([index for index, concept in enumerate(concepts) if concept.section in WIDENING])
    return free[torch.randperm(len(free), generator=generator)[: round(share * len(concepts))]]


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m infra.mini")
    parser.add_argument("--esc10", type=Path, required=True, help="ESC-10's folder of class folders")
    parser.add_argument("--fsdd", type=Path, required=True, help="FSDD's folder (above recordings/)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write (default: the shipped weights)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds, whose weights are of no use")
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(arguments.threads)
    if arguments.quick and arguments.out == WEIGHTS:
        parser.error("--quick would overwrite the shipped weights: give --out DIR")
    try:
        plan = QUICK if arguments.quick else Plan()
        pretrain(arguments.esc10, arguments.fsdd, arguments.out, plan, console=console)
    except InputError as error:
        console.print(str(error), style="red", soft_wrap=True, markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
