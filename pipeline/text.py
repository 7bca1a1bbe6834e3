"""How values are written for people: counts, times, numbers, and addresses without the passwords in them."""

from __future__ import annotations

import re

from sept_core.text import plural, some

__all__ = [
    "DEFAULT_ROOT",
    "ago",
    "duration",
    "fillable",
    "has_sept",
    "masked",
    "method_title",
    "one_line",
    "plural",
    "short",
    "some",
    "with_sept",
    "without_sept",
]

DEFAULT_ROOT = "sept-runs"
"""The folder of all results, where none is given."""
_LONGEST = 300
_SEPT = "+sept"
_TITLES = {
    "coop": "CoOp",
    "cocoop": "CoCoOp",
    "kgcoop": "KgCoOp",
    "dept": "DePT",
    "prograd": "ProGrad",
    "lasp": "LASP",
    "subt": "SubT",
    "palm": "PALM",
    "linear-probe": "linear probe",
    "tip-adapter": "Tip-Adapter",
    "tip-adapter-f": "Tip-Adapter-F",
    "treff": "TREFF",
    "zebra": "ZEBRA",
    "sept": "SEPT",
}
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


def short(value: object) -> str:
    """A hyper-parameter as a person would write it: numbers to three digits, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def method_title(method: str) -> str:
    """A method as papers write it: ``coop+sept`` is ``CoOp + SEPT``, ``coop@shots=4`` is ``CoOp, shots 4``."""
    name, _, cell = method.partition("@")
    words = (one.removeprefix("variant=").replace("=", " ", 1) for one in cell.split(",") if one)
    return ", ".join((" + ".join(_TITLES.get(part, part) for part in name.split("+")), *words))


def has_sept(name: str) -> bool:
    """Whether a method, or a method in a cell of a sweep with axes (``coop+sept@shots=4``), has SEPT."""
    return name.partition("@")[0].endswith(_SEPT)


def with_sept(name: str) -> str:
    """The SEPT twin of a method, in the same cell: of ``coop@shots=4`` it is ``coop+sept@shots=4``."""
    method, at, cell = name.partition("@")
    return f"{method.removesuffix(_SEPT)}{_SEPT}{at}{cell}"


def without_sept(name: str) -> str:
    """The baseline of a method, in the same cell."""
    method, at, cell = name.partition("@")
    return method.removesuffix(_SEPT) + at + cell


def duration(seconds: float) -> str:
    """Such as ``0.84 s``, ``12 s``, ``3.4 min``, ``2.1 h`` or ``3.5 d``."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    for limit, size, unit in ((5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def ago(seconds: float) -> str:
    """How long something is past, in whole units: ``4 s``, ``3 min``, ``27 h``, ``3 d``."""
    for limit, unit_s, unit in ((100, 1, "s"), (6000, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
