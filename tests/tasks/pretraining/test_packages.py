"""Weights from an installed package: the pinned file or a named error."""

from importlib import metadata

import pytest

from data_registry.errors import InputError
from tasks.identity.manifest import digest_of_file
from tasks.pretraining.packages import Params, weights_file

FILE = "rich/__init__.py"  # of a package that is always here; what is in it does not matter


def test_a_file_of_other_contents_is_refused():
    distribution = metadata.distribution("rich")
    whole = digest_of_file(distribution.locate_file(FILE))
    assert weights_file(Params("rich", distribution.version, FILE, whole)).name == "__init__.py"
    with pytest.raises(InputError, match=f"its sha256 is {whole}, params.yaml: foundation says {'0' * 64}"):
        weights_file(Params("rich", distribution.version, FILE, "0" * 64))
