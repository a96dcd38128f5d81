"""The table of what is taken away stays true: every row names code that is there, once (the rows are run by hand)."""

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_what_is_taken_away_is_there(mutation: Mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    for word in mutation.tests.split():
        if word.startswith("tests/"):
            assert (ROOT / word.partition("::")[0]).exists()
