"""How much of each data set a mix takes: exact numbers of samples, or fractions of all.
Which samples is decided by their ids alone, so that a smaller share is part of every larger one, in any file order."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_registry.errors import InputError, nearest

Amount = int | float


def check(mix: Mapping[str, Amount], names: Sequence[str], where: str) -> None:
    """That a mix names data sets that are there, with amounts that make sense.

    Args:
        names: the data sets of the stage run.
        where: what to call the mix in errors, e.g. "params.yaml: instruct.tiny.mix".
    """
    for name, amount in mix.items():
        if name not in names:
            raise InputError(f"{where}.{name}: not among the data sets of this run; {nearest(name, names)}")
        if not (amount >= 1 if isinstance(amount, int) else 0 < amount <= 1):
            raise InputError(
                f"{where}.{name}: {amount!r} is neither a number of samples (1 or more) nor a fraction (above 0, at "
                "most 1.0)"
            )


def chosen(ids: Sequence[str], amount: Amount, where: str) -> np.ndarray:
    """(n,) bool: which samples a mix takes, exactly `amount` of them or that fraction, rounded.

    Raises:
        InputError: there are fewer than asked for.
    """
    count = amount if isinstance(amount, int) else round(amount * len(ids))
    if count > len(ids):
        raise InputError(f"{where}: {count:,} samples are asked for, but there are {len(ids):,}; lower it")
    keys = np.array([int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8]) for id_ in ids], np.uint64)
    taken = np.zeros(len(ids), bool)
    taken[np.argsort(keys, kind="stable")[:count]] = True
    return taken
