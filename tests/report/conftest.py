"""A browser to look at pages with."""

from collections.abc import Iterator

import pytest

from tests.inspect.conftest import files, gene  # noqa: F401, fixtures of the tests here too
from tests.report.browser import Page, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Skipped where there is no Chromium; `make test` installs it."""
    if chromium() is None:
        pytest.skip("no chromium")
    page = Page(tmp_path_factory.mktemp("chromium"))
    yield page
    page.close()
