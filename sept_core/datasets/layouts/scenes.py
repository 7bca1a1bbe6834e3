"""Acoustic scenes as their authors ship them: TUT Acoustic Scenes 2017, development set.

https://zenodo.org/records/400515. ``meta.txt`` lists every segment with its scene and the recording that it was cut
from; ``evaluation_setup/fold1_evaluate.txt`` and so on are the test sets of its four folds, where every recording is on
one side.
"""

from __future__ import annotations

from pathlib import Path

from sept_core.datasets.folds import fold_of
from sept_core.datasets.layouts.base import Found, Layout, class_named, complete, inside, read_table
from sept_core.datasets.registry import DatasetInfo
from sept_core.datasets.sources import source_in_name
from sept_core.errors import InputError

__all__ = ["TUT2017"]


def _read_tut2017(info: DatasetInfo, root: Path) -> list[Found]:
    scenes: dict[str, tuple[str, str]] = {}
    for where, row in read_table(root / "meta.txt", delimiter="\t"):
        name, scene, recording = (row.get(column, "").strip() for column in "012")
        inside(root, name, where)
        classname = class_named(info, scene)
        if classname is None:
            raise InputError(
                f"unknown scene '{scene}' of {name}", where=where, fix=f"scenes are {', '.join(info.classnames)}"
            )
        if name in scenes:
            raise InputError(f"{name} is listed twice", where=where, fix="remove one of the two rows")
        scenes[name] = (classname, recording or source_in_name(info.name, Path(name).stem))
    setup = root / "evaluation_setup"
    listed: dict[str, set[str]] = {}
    for fold in info.folds:
        for side in ("train", "evaluate"):
            table = setup / f"fold{fold}_{side}.txt"
            names = listed.setdefault(f"{side} {fold}", set())
            for where, row in read_table(table, delimiter="\t"):
                name = row["0"].strip()
                if name not in scenes:
                    raise InputError(f"{name} is not in meta.txt", where=where, fix="unpack the data set again")
                names.add(name)
    found = []
    for name, (classname, recording) in scenes.items():
        train = [fold for fold in info.folds if name in listed[f"train {fold}"]]
        test = [fold for fold in info.folds if name in listed[f"evaluate {fold}"]]
        found.append(Found(root / name, classname, fold=fold_of(train, test, info), group=recording))
    return complete(found, root, "meta.txt")


TUT2017 = Layout(
    origin="original",
    expected="audio/, meta.txt and evaluation_setup/ with fold1_train.txt, fold1_evaluate.txt and so on",
    stands_in=lambda root: (root / "meta.txt").is_file() or (root / "evaluation_setup").is_dir(),
    read=_read_tut2017,
)
