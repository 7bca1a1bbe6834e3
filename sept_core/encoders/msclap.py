"""The encoders ``msclap-2022`` and ``msclap-2023`` of the package msclap, from its weight files.

The text tower needs transformers only; msclap itself is imported only to encode audio, never in a trial. Its audio
encoder is used as it is, although HTSAT ignores the configured sample rate in its mel filters: the weights were trained
that way. Two things differ from the package, which leaves them to chance or to the file: clips are mono, and a long one
is cropped at its centre, not at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from sept_core.encoders.base import AudioTower, Encoder, Preparation, TextTower
from sept_core.encoders.bidirectional import BertTextTower
from sept_core.encoders.gpt2 import Gpt2TextTower
from sept_core.encoders.tokenization import TOKENIZER_FILES, has_tokenizer, load_tokenizer, tokenizer_files
from sept_core.encoders.weights import ModelFiles, fingerprint, load_exactly, locate, read_state, reason
from sept_core.encoders.windows import centre_crop, repeat
from sept_core.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    Config = TypeVar("Config", bound=PretrainedConfig)

__all__ = [
    "VERSIONS",
    "MsclapAudioTower",
    "MsclapVersion",
    "Projection",
    "clap_fingerprint",
    "find_text_model",
    "find_weights",
    "load_audio",
    "load_msclap",
    "text_config",
]

_REPO = "microsoft/msclap"


@dataclass(frozen=True)
class MsclapVersion:
    """The settings of one version in the package's ``configs/config_*.yml``.

    Attributes:
        name: Name of the encoder.
        file: Name of the weight file.
        text_model: Hub name of the text model, and of its folder beside the weights.
        text_len: Tokens that the package pads a text to.
        audio_encoder: msclap's name of the audio encoder.
        embedding: Width of the audio encoder's embedding.
        seconds: Length of the window.
        fmax: Upper edge of the highest mel band in Hz (Cnn14 only; HTSAT has its own).
        sample_rate: Hz.
        dim: Width of the joint space.
        repo: Hub repository of the weights; ``""`` if they are published elsewhere.
        download: How to download the weights, for messages.
    """

    name: str
    file: str
    text_model: str
    text_len: int
    audio_encoder: Literal["HTSAT", "Cnn14"]
    embedding: int
    seconds: int
    fmax: int
    sample_rate: int = 44100
    dim: int = 1024
    repo: str = _REPO
    download: str = f"download them once with weights='hub:{_REPO}'"

    @property
    def preprocessing(self) -> str:
        """One line of the fingerprint: change it whenever a feature changes without a file changing."""
        return f"{self.name}: mono, {self.sample_rate} Hz, {self.seconds} s, centre crop, repeat, no '!' in texts"


VERSIONS = {
    version.name: version
    for version in (
        MsclapVersion("msclap-2022", "CLAP_weights_2022.pth", "bert-base-uncased", 100, "Cnn14", 2048, 5, 14000),
        MsclapVersion("msclap-2023", "CLAP_weights_2023.pth", "gpt2", 77, "HTSAT", 768, 7, 8000),
    )
}


class Projection(nn.Module):
    """msclap's projection into the joint space, ``LayerNorm(a + W2 gelu(a))`` with ``a = W1 x``.

    Written out because importing msclap's would import its audio stack into every trial. Its dropout (0.5) is left
    out: a frozen encoder never uses it.

    Args:
        width: Width of the input.
        dim: Width of the joint space.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, dim, bias=False)
        self.linear2 = nn.Linear(dim, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """``x [..., width]`` to ``[..., dim]``."""
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(F.gelu(first)))


class MsclapAudioTower(AudioTower):
    """msclap's audio encoder and projection.

    Args:
        version: The version.
        encoder: msclap's ``AudioEncoder``.
    """

    def __init__(self, version: MsclapVersion, encoder: nn.Module) -> None:
        super().__init__()
        self.dim = version.dim
        self.sample_rate = version.sample_rate
        self.seconds = version.seconds
        self.encoder = encoder

    def preparation(self) -> Preparation:
        """Repeats a short clip, crops a long one at its centre."""
        return partial(_to_window, size=round(self.seconds * self.sample_rate))

    def forward(self, windows: Tensor) -> Tensor:
        """Unit-norm features ``[clips, dim]`` of prepared windows ``[clips, window]``."""
        features, _ = self.encoder(windows)
        return F.normalize(features, dim=-1)


def _to_window(waveform: Tensor, size: int) -> Tensor:
    return repeat(centre_crop(waveform, size), size)


def load_msclap(name: str, files: ModelFiles) -> Encoder:
    """Load ``msclap-2022`` or ``msclap-2023``: text tower at once, audio tower when ``load_audio()`` is called.

    Args:
        name: Name of the encoder.
        files: ``weights`` is the ``.pth`` file or a folder that contains it; ``text_model`` a folder with the
            tokenizer,
            and with ``config.json`` if the text model is not the published one. If not given, it is looked for in the
            folder of the weights and in its subfolder ``gpt2`` or ``bert-base-uncased``.

    Raises:
        InputError: A file is missing, damaged or of another architecture.
    """
    version = VERSIONS[name]
    path = find_weights(version, files)
    folder = find_text_model(version, files, path.parent)
    state = read_state(path, version.download)
    text = _text_tower(version, folder)
    load_exactly(text, state, "caption_encoder.", name=name, path=path)
    if "logit_scale" not in state:
        raise InputError("the logit scale is missing from the weights", where=str(path), fix=version.download)
    return Encoder(
        name=name,
        text=text,
        load_audio=partial(load_audio, version, path),
        logit_scale=float(state["logit_scale"].float().exp()),
        fingerprint=clap_fingerprint(path, folder, version.preprocessing),
    )


def clap_fingerprint(weights: Path, folder: Path, preprocessing: str) -> str:
    """The encoder's fingerprint: over the weights, the files of the text model's folder, and the preprocessing."""
    shape = {"config.json": folder / "config.json"} if (folder / "config.json").is_file() else {}
    return fingerprint({"weights": weights, **shape, **tokenizer_files(folder)}, preprocessing)


def find_weights(version: MsclapVersion, files: ModelFiles) -> Path:
    """The weight file.

    Raises:
        InputError: It is not there, or cannot be downloaded or fetched.
    """
    path = locate(
        files.weights,
        what=f"the weights of {version.name}",
        option="weights",
        repo=version.repo,
        patterns=(version.file,),
        fetch=files.fetch,
        download=version.download,
    )
    if path.is_dir():
        path = path / version.file
        if not path.is_file():
            raise InputError(
                f"the weights of {version.name} are not in this folder",
                where=str(path),
                fix=f"put {version.file} there, or {version.download}",
            )
    return path


def find_text_model(version: MsclapVersion, files: ModelFiles, beside: Path) -> Path:
    """The folder of the tokenizer: the given one, or one in or below ``beside``, or an earlier download.

    Raises:
        InputError: There is none, or it cannot be downloaded or fetched.
    """
    place = files.text_model
    if place is None:
        for folder in (beside / version.text_model.rpartition("/")[2], beside):
            if has_tokenizer(folder):
                return folder
        if files.from_hub:
            place = f"hub:{version.text_model}"
    return locate(
        place,
        what=f"the tokenizer files of {version.text_model}",
        option="text_model",
        repo=version.text_model,
        patterns=("config.json", *TOKENIZER_FILES),
        fetch=files.fetch,
    )


def _text_tower(version: MsclapVersion, folder: Path) -> TextTower:
    from transformers import BertConfig, BertModel, BertTokenizerFast, GPT2Config, GPT2Model, GPT2TokenizerFast

    if version.text_model == "gpt2":
        config = text_config(GPT2Config, folder)
        tokenizer = load_tokenizer(GPT2TokenizerFast, folder, config.vocab_size)
        projection = Projection(config.n_embd, version.dim)
        return Gpt2TextTower(GPT2Model(config), projection, tokenizer, version.dim, version.text_len)
    bert = text_config(BertConfig, folder)
    return BertTextTower(
        BertModel(bert),
        Projection(bert.hidden_size, version.dim),
        load_tokenizer(BertTokenizerFast, folder, bert.vocab_size),
        name=version.name,
        dim=version.dim,
        max_tokens=version.text_len - 1,
    )


def text_config(kind: type[Config], folder: Path) -> Config:
    """``config.json`` of ``folder``; without one the class's defaults, which are those of the published models.

    Raises:
        InputError: The file cannot be read or is of another kind of model.
    """
    path = folder / "config.json"
    if not path.is_file():
        return kind()
    fix = f"give the config.json of {kind.model_type}, or leave it out"
    try:
        values, _ = kind.get_config_dict(str(folder), local_files_only=True)
        values = values.get(kind.base_config_key, values)  # CLIP's file has one part for texts and one for images
        config = kind.from_dict(values)
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"cannot be read ({reason(error)})", where=str(path), fix=fix) from error
    if values.get("model_type", kind.model_type) != kind.model_type:
        raise InputError(f"describes a {values['model_type']}, not a {kind.model_type}", where=str(path), fix=fix)
    return config


def audio_encoder(version: MsclapVersion) -> nn.Module:
    """The package's audio encoder of a version, with random weights.

    Raises:
        ImportError: There is no package msclap; or OSError, a library that it loads is missing.
    """
    from msclap.models.clap import AudioEncoder

    return AudioEncoder(
        version.audio_encoder,
        version.embedding,
        version.dim,
        sample_rate=version.sample_rate,
        window_size=1024,
        hop_size=320,
        mel_bins=64,
        fmin=50,
        fmax=version.fmax,
        classes_num=527,
    )


def load_audio(version: MsclapVersion, path: Path) -> MsclapAudioTower:
    """The audio tower of a weight file, frozen.

    Raises:
        InputError: The package msclap cannot be loaded, or the file is damaged or of another architecture.
    """
    try:
        encoder = audio_encoder(version)
    except (ImportError, OSError) as error:
        raise InputError(
            f"{version.name} encodes audio with the package msclap, which cannot be loaded ({reason(error)})",
            fix="pip install msclap",
        ) from error
    state = read_state(path, version.download)
    load_exactly(encoder, state, "audio_encoder.", name=version.name, path=path)
    return MsclapAudioTower(version, encoder).eval()
