"""A user's own parts of the study, in folders that params.yaml lists as `extensions`: cards of data sets, and Python
files that add entries to the tables of encoders, samplers, stages, question types and so on."""

import hashlib
import importlib.util
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_registry.cards import datasets
from data_registry.errors import InputError

_lock = threading.RLock()  # a flow's threads read the settings at the same time


def load(root: Path, folders: Any) -> None:
    """Add what the extensions hold: each `cards/*.yaml` is a data set, each `*.py` is imported, once per process.

    Cards are read anew each time, and those of before go.

    Args:
        root: the project's, which relative folders begin at.
        folders: params.yaml's `extensions`; None for none.

    Raises:
        InputError: no list of folders, no such folder, a wrong card, or a file that does not import; each named.
    """
    where = "params.yaml: extensions"
    folders = [] if folders is None else folders
    if not isinstance(folders, Sequence) or isinstance(folders, str) or not all(isinstance(f, str) for f in folders):
        raise InputError(f"{where}: expected a list of folders, is {folders!r}")
    with _lock:
        places = [_folder(root, name, where) for name in folders]
        for folder in places:
            for path in sorted(folder.glob("*.py")):
                _import(path)
        datasets.set_added(path for folder in places for path in sorted(folder.glob("cards/*.yaml")))


def _folder(root: Path, name: str, where: str) -> Path:
    folder = (root / name).resolve()
    if not folder.is_dir():
        raise InputError(f"{where}: {name}: no such folder ({folder})")
    return folder


def _import(path: Path) -> None:
    name = f"extension_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: no Python file; take its folder out of params.yaml: extensions")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: its dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends its process as it is imported
        del sys.modules[name]
        raise InputError(f"{path}: does not import ({type(error).__name__}: {error}); mend it, or take its folder "
                         "out of params.yaml: extensions") from error  # fmt: skip
