"""Weights on the Hugging Face Hub: `hf-hub:USER/NAME`, as timm writes it, becomes a file in the hub's own cache."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tleg_cli.errors import ConfigError, TlegError, first_line

PREFIX = "hf-hub:"
LEARNGENES = ("learngene.safetensors", "learngene.pt")
NETWORKS = ("model.safetensors",)
_ADDRESS = re.compile(r"(?P<repository>[^/@]+/[^/@]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[^@]+))?")


def is_on_hub(path: Path | str) -> bool:
    """Whether this is an address on the hub and not a file."""
    return str(path).startswith(PREFIX)


def local_file(path: Path, names: tuple[str, ...] = LEARNGENES) -> Path:
    """A file as it is; one on the hub is fetched, unless the hub's cache has it already.

    path: anything, or `hf-hub:USER/NAME[/FILE][@REVISION]`. names: of the files that are looked for, in this order, if FILE is left
    out. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as usual. Raises ConfigError for an address that can't be, and
    TlegError if the file doesn't exist or the hub can't be reached.
    """
    if not is_on_hub(path):
        return path
    address = _ADDRESS.fullmatch(str(path).removeprefix(PREFIX))
    if address is None:
        raise ConfigError(f"{path}: write hf-hub:USER/NAME, hf-hub:USER/NAME/FILE or hf-hub:USER/NAME@REVISION")
    unreachable: _Unreachable | None = None
    for name in [address["file"]] if address["file"] else names:
        try:
            found = _fetch(str(path), address["repository"], name, address["revision"])
        except _Unreachable as error:  # the cache may have the next name
            unreachable = unreachable or error
            continue
        if found is not None:
            return found
    raise unreachable or TlegError(f"{path} has no {address['file'] or ' or '.join(names)}")


class _Unreachable(TlegError):
    """The cache does not have a file, and the hub can't be asked."""


def _fetch(address: str, repository: str, name: str, revision: str | None) -> Path | None:
    """None if the repository has no such file."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    server = endpoint()
    try:
        with quiet():  # asks once, while hf_hub_download would try for half a minute whether a hub is there
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision, endpoint=server))
        return Path(hf_hub_download(repository, name, revision=revision, endpoint=server))
    except EntryNotFoundError:
        return None
    except GatedRepoError as error:
        raise TlegError(f"{address}: its owner lets only some users in; log in with `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise TlegError(f"{address}: the repository has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise TlegError(
            f"{address}: {server} has no such repository, or it is private: then log in with `hf auth login`"
        ) from error
    except HFValidationError as error:
        raise ConfigError(f"{address}: {first_line(error)}") from error
    except Exception as error:  # of the connection or the server, whose class depends on the version of huggingface_hub
        kept = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(kept, str):
            return Path(kept)
        raise _Unreachable(
            f"{address} can't be fetched: {server} can't be reached, and the cache doesn't have it; check the connection, "
            f"HF_ENDPOINT and HF_HUB_OFFLINE, or give a file ({first_line(error)})"
        ) from error


def endpoint() -> str:
    """The hub's address; HF_ENDPOINT names another one."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of huggingface_hub, whose reason is in our error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
