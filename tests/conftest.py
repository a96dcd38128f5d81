"""What tests of every folder share: one headless Chromium for all that look at pages."""

from collections.abc import Iterator

import pytest

from tests.browser import CHROMIUM, WHY_NOT, Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium; tests that ask for it carry the marker `browser` and are skipped, saying why, where there is none."""
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    opened = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield opened
    opened.close()
