"""A tiny ViT to count."""

from tests.models.conftest import images, make_aux_net, metadata_of  # noqa: F401, fixtures of the tests here too
