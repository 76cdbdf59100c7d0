"""Tiny learngenes, for their files' headers."""

from tests.learngene.conftest import make_learngene  # noqa: F401, a fixture of the tests here too
