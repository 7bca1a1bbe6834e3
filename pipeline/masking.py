"""What is said of addresses and errors: in one line, and without the passwords and tokens that may stand in them."""

from __future__ import annotations

import re

__all__ = ["fillable", "masked", "one_line"]

_LONGEST = 300
# In a database's address a password may hold a slash, so that after "USER:" all up to the last "@" counts as one. Where
# that is a port and a path with an "@", too much is masked rather than too little.
_USER = re.compile(r"(?<=://)(?:[^\s:/?#]*:\S*|[^\s/?#]*)@")
# Without a scheme, as an address of Ray's has none: USER:PASSWORD@HOST.
_BARE_USER = re.compile(r"(?<![^\s'\"(=,])[^\s:/@'\"(=,]+:[^\s/@'\"]*@(?=[\w\[])")
_PARAMETER = re.compile(r"(?i)(?<=[?&])(password|passwd|pwd|sslpassword|token|access_token|api_key)=[^&\s]*")


def masked(text: str) -> str:
    """A text whose addresses have neither user nor password nor token in them any more."""
    return _PARAMETER.sub(r"\1=***", _BARE_USER.sub("", _USER.sub("", text)))


def fillable(uri: str) -> str:
    """An address for a command to be typed again, where the person puts in what is not to be shown."""
    return _PARAMETER.sub(r"\1=PASSWORD", _BARE_USER.sub("USER:PASSWORD@", _USER.sub("USER:PASSWORD@", uri)))


def one_line(said: object) -> str:
    """A text or an error, which may run over many lines, in one printable line of at most 300 characters, masked."""
    line = " ".join(masked(str(said)).split())
    line = "".join(character if character.isprintable() else "?" for character in line)[:_LONGEST]
    return line or (type(said).__name__ if isinstance(said, BaseException) else "")
