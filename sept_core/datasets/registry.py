"""The data sets that are known by name: classes, folds and zero-shot templates.

Eleven make up the benchmark of PALM (https://arxiv.org/abs/2409.19806), which SEPT follows; class names are spelled
as in its CSV files and the templates are those of its zero-shot rows. Three more, ``ESC10``, ``FSDD`` and ``Synth12``,
are extras: small, and with open licences, for first experiments. ``Synth12`` is synthetic (``infra/mini/synth12.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from sept_core.errors import InputError
from sept_core.protocol_facts import protocol_of
from sept_core.suggestions import nearest_hint

__all__ = ["DATASETS", "DatasetInfo", "dataset_key", "get_dataset", "halves", "prompt_name", "trained_classes"]

Kind = Literal["events", "instruments", "emotion", "scenes", "music", "vocal", "speech"]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set before any clip is read.

    Args:
        name: Canonical name, such as ``"ESC50-Actions"``.
        kind: What its classes are; picks the prompt templates.
        classnames: Sorted, as its authors spell them; `prompt_name` gives the words for a prompt.
        template: Zero-shot template with one ``{}``.
        folds: The test sets in order. ``kfold``: all the data set's folds; ``fixed``: ``("test",)``.
        split: ``kfold``: each fold in turn is the test set and the others are the pool that shots are drawn from.
            ``fixed``: clips of fold ``train`` are the pool, clips of fold ``test`` the test set.
        extra: True for the data sets that are not among the benchmark's eleven.
        clips: Number of clips in published copies, to check a copy: each size in use, with a description if there are
            several; empty if the number is not fixed.
    """

    name: str
    kind: Kind
    classnames: tuple[str, ...]
    template: str
    folds: tuple[str, ...]
    split: Literal["kfold", "fixed"]
    extra: bool = False
    clips: tuple[tuple[int, str], ...] = ()


def prompt_name(classname: str, *, lower: bool = True) -> str:
    """The class name as used in a prompt: underscores become spaces, it is stripped, and lower-cased if ``lower``."""
    return (classname.lower() if lower else classname).replace("_", " ").strip()


def halves(classnames: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Base and new classes: the names sorted, the first ceil(C/2) are base (as in CoCoOp and SEPT).

    Raises:
        InputError: Fewer than two names, or a name given twice.
    """
    if len(classnames) < 2:
        raise InputError(
            f"base and new classes need at least two class names, got {list(classnames)}", fix="add a class"
        )
    doubled = sorted(name for name, count in Counter(classnames).items() if count > 1)
    if doubled:
        raise InputError(f"class names given more than once: {', '.join(doubled)}", fix="name each class once")
    names = tuple(sorted(classnames))
    middle = (len(names) + 1) // 2
    return names[:middle], names[middle:]


def trained_classes(classnames: Sequence[str], protocol: str) -> tuple[str, ...]:
    """The classes that a trial is trained on, sorted: the base classes or, in protocols without new classes, all.

    Raises:
        InputError: No such protocol, or as `halves`.
    """
    return tuple(sorted(classnames)) if protocol_of(protocol).all_classes else halves(classnames)[0]


def get_dataset(name: str, own: Iterable[DatasetInfo] = ()) -> DatasetInfo:
    """The data set of that name; case, ``-``, ``_`` and spaces don't matter (``esc50_actions`` is ``ESC50-Actions``).

    Args:
        name: Name of a registered data set, or of one of ``own``.
        own: The user's own data sets; the caller provides them.

    Raises:
        InputError: No data set has this name.
    """
    by_key = {dataset_key(info.name): info for info in own} | _BY_KEY
    found = by_key.get(dataset_key(name))
    if found is None:
        known = [*DATASETS, *(info.name for info in by_key.values() if info.name not in DATASETS)]
        hint = nearest_hint(name, known)
        raise InputError(f"unknown dataset '{name}'", fix=f"{hint}known: {', '.join(known)}")
    return found


def dataset_key(name: str) -> str:
    """What two spellings of one data set's name have in common."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(","))


_FIXED = ("test",)
_CHARACTERISTIC = "This is a characteristic sound of {}."
_SOUND = "This is a sound of {}."
_PLAYED = "This is a sound of {} being played."
_SPEECH_EMOTION = "This is a human vocal sound of {} speech."

_ALL = (
    DatasetInfo(
        "Beijing-Opera",
        "instruments",
        _names("bangu, daluo, naobo, xiaoluo"),
        _PLAYED,
        _numbered(5),
        "kfold",
        clips=((236, ""),),
    ),
    DatasetInfo(
        "CREMA-D",
        "emotion",
        _names("anger, disgust, fear, happy, neutral, sad"),
        _SPEECH_EMOTION,
        _FIXED,
        "fixed",
        clips=((7442, ""),),
    ),
    DatasetInfo(
        "ESC50",
        "events",
        _names(
            "airplane, breathing, brushing teeth, can opening, car horn, cat, chainsaw, chirping birds, church bells, "
            "clapping, clock alarm, clock tick, coughing, cow, crackling fire, crickets, crow, crying baby, dog, "
            "door wood creaks, door wood knock, drinking sipping, engine, fireworks, footsteps, frog, glass breaking, "
            "hand saw, helicopter, hen, insects, keyboard typing, laughing, mouse click, pig, pouring water, rain, "
            "rooster, sea waves, sheep, siren, sneezing, snoring, thunderstorm, toilet flush, train, vacuum cleaner, "
            "washing machine, water drops, wind"
        ),
        _CHARACTERISTIC,
        _numbered(5),
        "kfold",
        clips=((2000, ""),),
    ),
    DatasetInfo(
        "ESC50-Actions",
        "events",
        _names(
            "breathing, brushing teeth, clapping, coughing, crying baby, drinking sipping, footsteps, laughing, "
            "sneezing, snoring"
        ),
        _CHARACTERISTIC,
        _numbered(5),
        "kfold",
        clips=((400, ""),),
    ),
    DatasetInfo(
        "GT-Music-Genre",
        "music",
        _names("blues, classical, country, disco, hiphop, jazz, metal, pop, reggae, rock"),
        "This is {} music.",
        _FIXED,
        "fixed",
        clips=((1000, ""),),
    ),
    DatasetInfo(
        "NS-Instruments",
        "instruments",
        _names("bass, brass, flute, guitar, keyboard, mallet, organ, reed, string, vocal"),
        _PLAYED,
        _FIXED,
        "fixed",
    ),
    DatasetInfo(
        "RAVDESS",
        "emotion",
        _names("angry, calm, disgust, fearful, happy, neutral, sad, surprised"),
        _SPEECH_EMOTION,
        _FIXED,
        "fixed",
        clips=((1440, "speech"), (2452, "speech and song")),
    ),
    DatasetInfo(
        "SESA", "events", _names("casual, explosion, gunshot, siren"), _SOUND, _FIXED, "fixed", clips=((585, ""),)
    ),
    DatasetInfo(
        "TUT2017",
        "scenes",
        _names(
            "beach, bus, cafe/restaurant, car, city_center, forest_path, grocery_store, home, library, metro_station, "
            "office, park, residential_area, train, tram"
        ),
        _SOUND,
        _numbered(4),
        "kfold",
        clips=((4680, ""),),
    ),
    DatasetInfo(
        "UrbanSound8K",
        "events",
        _names(
            "air conditioner, car horn, children playing, dog bark, drilling, engine idling, gun shot, jackhammer, "
            "siren, street music"
        ),
        _CHARACTERISTIC,
        _numbered(10),
        "kfold",
        clips=((8732, ""),),
    ),
    DatasetInfo(
        "VocalSound",
        "vocal",
        _names("Cough, Laughter, Sigh, Sneeze, Sniff, Throat clearing"),
        "This is a human vocal sound of {}.",
        _FIXED,
        "fixed",
        clips=((21024, ""),),
    ),
    DatasetInfo(
        "ESC10",
        "events",
        _names(
            "baby cry, chainsaw, clock tick, dog bark, fire crackling, helicopter, person sneeze, rain, rooster, "
            "sea waves"
        ),
        _CHARACTERISTIC,
        _numbered(5),
        "kfold",
        extra=True,
        clips=((400, ""),),
    ),
    DatasetInfo(
        "FSDD",
        "speech",
        _names("eight, five, four, nine, one, seven, six, three, two, zero"),
        "This is a recording of the spoken word {}.",
        _names("george, jackson, lucas, nicolas, theo, yweweler"),
        "kfold",
        extra=True,
    ),
    DatasetInfo(
        "Synth12",
        "events",
        _names(
            "brushing teeth, clapping, clock tick, door wood knock, fire crackling, fireworks, frying, glass breaking, "
            "hail, keyboard typing, mouse click, water drops"
        ),
        _SOUND,
        _names("leaves, rain, sea, tap, waterfall, wind"),
        "kfold",
        extra=True,
        clips=((576, ""),),
    ),
)

DATASETS: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _ALL})
"""All known data sets by canonical name: the benchmark's eleven, then the extras."""

_BY_KEY = {dataset_key(info.name): info for info in _ALL}
