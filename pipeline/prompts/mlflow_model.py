"""The code of a prompt's MLflow model. It is copied into the model, and imports nothing but `sept_core` and MLflow.

Input: a column ``audio`` with whole audio files (base64 in JSON). Parameters: ``classes``, any names, by default the
classes of the dataset that the prompt was learned on; ``top``, the number of names per clip, 0 for all. Output: a row
per clip and class, most likely first. The environment variables ``SEPT_WEIGHTS`` and ``SEPT_TEXT_MODEL`` give the
weights of encoders that are not part of `sept_core`.
"""

from __future__ import annotations

import os
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

__all__ = ["PromptModel"]


class PromptModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Ranks class names for clips."""

    def load_context(self, context: Any) -> None:
        """Load prompt and encoder."""
        from sept_core.encoders import load_encoder
        from sept_core.prediction import Predictor
        from sept_core.prompt import load_prompt

        self._prompt = load_prompt(context.artifacts["prompt"])
        weights, text_model = (os.environ.get(name) or None for name in ("SEPT_WEIGHTS", "SEPT_TEXT_MODEL"))
        self._predictor = Predictor(
            self._prompt, load_encoder(str(self._prompt.card["encoder"]["name"]), weights, text_model)
        )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per clip and class: ``clip`` (its position), ``rank`` from 1, ``class``, ``probability``."""
        from sept_core.errors import InputError

        params = params or {}
        names = [str(name) for name in params.get("classes", self._prompt.classes)]
        top = int(params.get("top", 0))
        rows: list[tuple[int, int, str, float]] = []
        for clip, audio in enumerate(model_input["audio"]):
            try:
                features = self._predictor.embed([bytes(audio)])
                probabilities = self._predictor.probabilities(features, names)[0].tolist()
            except InputError as error:
                # A fault of the request, not of the server.
                raise MlflowException(f"clip {clip}: {error}", error_code=INVALID_PARAMETER_VALUE) from error
            ranking = sorted(zip(names, probabilities, strict=True), key=lambda one: -one[1])
            rows += ((clip, rank, *one) for rank, one in enumerate(ranking[: top or None], start=1))
        return pd.DataFrame(rows, columns=["clip", "rank", "class", "probability"])


set_model(PromptModel())
