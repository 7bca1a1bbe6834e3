"""The server that ``sept neighbors`` would use. The key is sent in a header, and is never shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.doctor.checks import Check
from pipeline.neighbors.address import DEFAULT_BASE_URL, KEY_VARIABLE, api_key, read_address
from sept_core.errors import InputError

__all__ = ["check_language_model"]

_TIMEOUT_S = 5.0
_NAME = "language model"


def check_language_model(base_url: str | None) -> Sequence[Check]:
    """An OpenAI-compatible server: its list of models.

    Args:
        base_url: Its address; None for OpenAI's own, which is asked only where there is a key.

    Raises:
        InputError: This is not an address.
    """
    try:
        key = api_key(needed=False)
    except InputError as error:
        return [Check(_NAME, "red", error.what, f"export {KEY_VARIABLE}=...")]
    if base_url is None and not key:
        said = f"no server is named (--base-url, {KEY_VARIABLE}); only sept neighbors needs one"
        return [Check(_NAME, "green", said)]
    address = read_address(base_url or DEFAULT_BASE_URL)
    import openai

    from pipeline.neighbors.connection import open_client, reason

    # Azure lists models next to its deployments.
    listing = replace(address, url=address.url.partition("/deployments/")[0])
    client, headers = open_client(listing, key, timeout_s=_TIMEOUT_S)
    host = address.host
    try:
        models = getattr(client.models.list(extra_headers=headers), "data", None)
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        return [Check(_NAME, "red", f"{host} refuses the key ({error.status_code})", f"export {KEY_VARIABLE}=...")]
    except openai.APIStatusError as error:
        said = f"{host} does not list its models (status {error.status_code})"
        return [Check(_NAME, "red", said, "check --base-url; it commonly ends in /v1")]
    except openai.APIConnectionError as error:
        said = f"{host} cannot be reached: {reason(error)}"
        return [Check(_NAME, "red", said, "start it, or name another: --base-url URL")]
    except (openai.OpenAIError, ValueError):
        models = None
    if not isinstance(models, list):
        return [Check(_NAME, "red", f"{host} answers, but not with a list of models", "check --base-url")]
    return [Check(_NAME, "green", f"{host} answers and has {len(models)} models")]
