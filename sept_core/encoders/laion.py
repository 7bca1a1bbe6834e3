"""The encoder ``laion-clap``: any unfused CLAP in transformers' format (RoBERTa and HTSAT, 48 kHz, 10 s).

The published default is ``laion/clap-htsat-unfused``. transformers' feature extractor crops a long clip at random; here
a clip is first fitted to the window, cropped at its centre. The fused models are refused: their extractor stacks three
random crops, and randomly marks one clip of each batch as longer than it is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from sept_core.checked_json import parse_json
from sept_core.encoders.base import AudioTower, Encoder, Preparation
from sept_core.encoders.bidirectional import RobertaTextTower
from sept_core.encoders.tokenization import TOKENIZER_FILES, load_tokenizer, tokenizer_files
from sept_core.encoders.weights import ModelFiles, fingerprint, load_exactly, locate, read_state, reason
from sept_core.encoders.windows import centre_crop, repeat_and_pad
from sept_core.errors import InputError

if TYPE_CHECKING:
    from transformers import ClapConfig, ClapFeatureExtractor

__all__ = ["LaionAudioTower", "load_laion"]

_NAME = "laion-clap"
_REPO = "laion/clap-htsat-unfused"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CONFIGS = ("config.json", "preprocessor_config.json")
_MEND = f"give the folder of an unfused CLAP in transformers' format, such as {_REPO}"
# The fingerprint includes this line: change it whenever a feature changes without a file changing.
_PREPROCESSING = f"{_NAME}: mono, centre crop, repeat and pad, mel spectrogram of the window by the feature extractor"


class LaionAudioTower(AudioTower):
    """transformers' CLAP audio model and projection, on the mel spectrogram of its own feature extractor.

    Args:
        base: ``ClapAudioModel``.
        projection: Its projection into the joint space.
        extractor: Waveform to mel spectrogram, computed in numpy on the CPU.
        dim: Width of the joint space.
    """

    def __init__(self, base: nn.Module, projection: nn.Module, extractor: ClapFeatureExtractor, dim: int) -> None:
        super().__init__()
        self.base = base
        self.projection = projection
        self.dim = dim
        self.sample_rate = int(extractor.sampling_rate)
        self.seconds = float(extractor.max_length_s)
        self._extractor = extractor

    def preparation(self) -> Preparation:
        """Repeats a short clip as often as it fits completely and pads it with silence, crops a long one at its
        centre."""
        return partial(_to_window, size=round(self.seconds * self.sample_rate))

    def forward(self, windows: Tensor) -> Tensor:
        """Unit-norm features ``[clips, dim]`` of prepared windows ``[clips, window]``."""
        mel = self._extractor(
            list(windows.detach().cpu().numpy()),
            sampling_rate=self.sample_rate,
            truncation="rand_trunc",
            return_tensors="pt",
        )["input_features"]
        weight = next(self.projection.parameters())
        pooled = self.base(input_features=mel.to(weight)).pooler_output
        return F.normalize(self.projection(pooled), dim=-1)


def _to_window(waveform: Tensor, size: int) -> Tensor:
    return repeat_and_pad(centre_crop(waveform, size), size)


def load_laion(files: ModelFiles) -> Encoder:
    """Load ``laion-clap``: text tower at once, audio tower when ``load_audio()`` is called.

    Args:
        files: ``weights`` is a folder with ``config.json``, ``preprocessor_config.json``, ``model.safetensors`` (or
            ``pytorch_model.bin``) and the tokenizer; ``text_model`` a folder with the tokenizer if it is elsewhere.

    Raises:
        InputError: A file is missing, damaged or of another architecture, or the model is a fused one.
    """
    from transformers import ClapTextModel, RobertaTokenizerFast
    from transformers.models.clap.modeling_clap import ClapProjectionLayer

    folder = _folder(files)
    path = _weights(folder)
    config = _config(folder)
    _extractor(folder)  # so that unusable preprocessing is found now, not when audio is encoded
    text = config.text_config
    tokens = _tokenizer_folder(files, folder)
    tower = RobertaTextTower(
        ClapTextModel(text),
        ClapProjectionLayer(text),
        load_tokenizer(RobertaTokenizerFast, tokens, text.vocab_size),
        name=_NAME,
        dim=config.projection_dim,
        # RoBERTa numbers positions after that of the padding, and the start token takes one.
        max_tokens=text.max_position_embeddings - text.pad_token_id - 2,
    )
    state = read_state(path, _MEND)
    load_exactly(tower.base, state, "text_model.", name=_NAME, path=path)
    load_exactly(tower.projection, state, "text_projection.", name=_NAME, path=path)
    if "logit_scale_a" not in state:
        raise InputError("the logit scale is missing from the weights", where=str(path), fix=_MEND)
    configs = {name: folder / name for name in _CONFIGS}
    return Encoder(
        name=_NAME,
        text=tower.eval(),
        load_audio=partial(_load_audio, folder),
        logit_scale=float(state["logit_scale_a"].float().exp()),
        fingerprint=fingerprint({"weights": path, **configs, **tokenizer_files(tokens)}, _PREPROCESSING),
    )


def _load_audio(folder: Path) -> LaionAudioTower:
    from transformers import ClapAudioModel
    from transformers.models.clap.modeling_clap import ClapProjectionLayer

    path, config, extractor = _weights(folder), _config(folder), _extractor(folder)
    audio = config.audio_config
    state = read_state(path, _MEND)
    base, projection = ClapAudioModel(audio), ClapProjectionLayer(audio)
    load_exactly(base, state, "audio_model.", name=_NAME, path=path)
    load_exactly(projection, state, "audio_projection.", name=_NAME, path=path)
    return LaionAudioTower(base, projection, extractor, config.projection_dim).eval()


def _folder(files: ModelFiles) -> Path:
    find = partial(locate, files.weights, what=f"the files of {_NAME}", option="weights", repo=_REPO, fetch=files.fetch)
    folder = find(patterns=(*_CONFIGS, *TOKENIZER_FILES, _WEIGHTS[0]))
    if files.from_hub and not (folder / _WEIGHTS[0]).is_file():  # older repositories have the second format only
        folder = find(patterns=(*_CONFIGS, *TOKENIZER_FILES, _WEIGHTS[1]))
    if not folder.is_dir():
        raise InputError("is a file, not a folder", where=str(folder), fix=_MEND)
    return folder


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"neither {_WEIGHTS[0]} nor {_WEIGHTS[1]} is there", where=str(folder), fix=_MEND)


def _tokenizer_folder(files: ModelFiles, folder: Path) -> Path:
    if files.text_model is None:
        return folder
    return locate(
        files.text_model,
        what=f"the tokenizer files of {_NAME}",
        option="text_model",
        repo=_REPO,
        patterns=TOKENIZER_FILES,
        fetch=files.fetch,
    )


def _json(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise InputError("no such file", where=str(path), fix=_MEND)
    try:
        values = parse_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"is not JSON ({reason(error)})", where=str(path), fix=_MEND) from error
    if not isinstance(values, dict):
        raise InputError("is not a JSON object", where=str(path), fix=_MEND)
    return values


def _config(folder: Path) -> ClapConfig:
    from transformers import ClapConfig

    path = folder / "config.json"
    values = _json(path)
    if values.get("model_type") != "clap":
        raise InputError(f"describes a {values.get('model_type')}, not a clap", where=str(path), fix=_MEND)
    config = ClapConfig.from_dict(values)
    if config.audio_config.enable_fusion:
        raise InputError("a fused CLAP takes random crops and is not supported", where=str(path), fix=_MEND)
    return config


def _extractor(folder: Path) -> ClapFeatureExtractor:
    from transformers import ClapFeatureExtractor

    path = folder / "preprocessor_config.json"
    _json(path)  # transformers would look for a missing file on the hub
    extractor = ClapFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
    if extractor.padding != "repeatpad":
        raise InputError(f"padding '{extractor.padding}' is not 'repeatpad'", where=str(path), fix=_MEND)
    return extractor
