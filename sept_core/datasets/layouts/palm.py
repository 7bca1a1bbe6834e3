"""PALM's copies on the Hugging Face hub (https://github.com/asif-hanif/palm, ``DATASETS.md``): one layout for all 11.

``audios/`` holds the clips; ``train.csv`` and ``test.csv``, or ``csv_files/train_1.csv``, ``csv_files/test_1.csv``
and so on, have the columns ``path`` (such as ``audios/dog.wav``) and ``classname``. Clips that no CSV file lists are
left out: the copy of ESC50-Actions contains all clips of ESC-50. In addition to its five pairs a k-fold copy may have a
single pair, which is not read.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from sept_core.datasets.folds import fold_of
from sept_core.datasets.layouts.base import Found, Layout, class_named, complete, inside, read_table
from sept_core.datasets.registry import DatasetInfo
from sept_core.datasets.sources import GROUPED, source_in_name
from sept_core.errors import InputError

__all__ = ["PALM_FIXED", "PALM_FOLDS"]


def _read(info: DatasetInfo, root: Path) -> list[Found]:
    """Every clip with its training and test folds as in the CSV files, faults included."""
    sides: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"train": [], "test": []})
    classnames: dict[str, tuple[str, str]] = {}
    for fold in info.folds:
        for side in ("train", "test"):
            table = root / (f"{side}.csv" if info.split == "fixed" else f"csv_files/{side}_{fold}.csv")
            for where, row in read_table(table, ("path", "classname")):
                path = row["path"]
                inside(root, path, where)
                classname = class_named(info, row["classname"])
                if classname is None:
                    raise InputError(
                        f"unknown class '{row['classname']}' of {path}",
                        where=where,
                        fix=f"classes are {', '.join(info.classnames)}",
                    )
                known = classnames.setdefault(path, (classname, where))
                if known[0] != classname:
                    raise InputError(
                        f"{path} is of class '{classname}', but '{known[0]}' in {known[1]}",
                        where=where,
                        fix="correct one of the two rows",
                    )
                if fold in sides[path][side]:
                    raise InputError(f"{path} is listed twice", where=where, fix="remove one of the two rows")
                sides[path][side].append(fold)
    found = [
        Found(
            root / path,
            classname,
            fold=fold_of(sides[path]["train"], sides[path]["test"], info),
            # If the authors of the data set publish no split, PALM's is random over clips. Then no source is named,
            # which distinguishes this split from ours (sept_core.datasets.split_overlap.is_published).
            group=source_in_name(info.name, Path(path).stem) if info.name in GROUPED else "",
        )
        for path, (classname, _) in classnames.items()
    ]
    return complete(found, root, "PALM's CSV files")


PALM_FIXED = Layout(
    origin="PALM's copy",
    expected="audios/, train.csv and test.csv",
    stands_in=lambda root: (root / "train.csv").is_file() or (root / "test.csv").is_file(),
    read=_read,
)
PALM_FOLDS = Layout(
    origin="PALM's copy",
    expected="audios/ and csv_files/ with train_1.csv, test_1.csv and so on",
    stands_in=lambda root: (root / "csv_files").is_dir(),
    read=_read,
)
