"""Files onto the Hugging Face Hub, in one commit: all of them or none."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tleg_cli.errors import ConfigError, TlegError, first_line
from tleg_cli.weights.hub import endpoint, quiet

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPOSITORY = re.compile(r"[^/]+/[^/]+")
_SAY_WRITE = "use a token with write access, of the owner or of a member of the organization"


@dataclass(frozen=True)
class Hub:
    """The hub as the user of the token sees it. private: whether a new repository is hidden from others."""

    api: HfApi
    user: str
    repository: str
    private: bool


@dataclass(frozen=True)
class Pushed:
    """url: of the repository. commit: its number on the hub. notes: what the hub remarked, one line each."""

    url: str
    commit: str
    created: bool
    notes: tuple[str, ...] = ()


def open_hub(repository: str, *, private: bool = False) -> Hub:
    """The hub, asked once who the token belongs to; before anything is computed for a repository that can't be written.

    HF_ENDPOINT, HF_TOKEN and `hf auth login` work as usual. Raises ConfigError for a name that can't be, and TlegError without
    a valid token or a hub.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        if not _REPOSITORY.fullmatch(repository):
            raise HFValidationError("write USER/NAME")
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(f"--push {repository}: {first_line(error)}") from None
    token = get_token()
    if token is None:
        raise TlegError(
            f"--push {repository} needs a token of the Hugging Face Hub that may write: log in with `hf auth login`, or set HF_TOKEN"
        )
    api = HfApi(endpoint=endpoint(), token=token)
    try:
        with quiet():
            return Hub(api, str(api.whoami()["name"]), repository, private)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403):
            raise TlegError(
                f"--push {repository}: {endpoint()} does not accept the token; log in again with `hf auth login`, or set HF_TOKEN"
            ) from error
        raise TlegError(f"--push {repository}: {endpoint()} answers with an error ({first_line(error)})") from error
    except Exception as error:  # of the connection, whose class depends on the version of huggingface_hub
        raise TlegError(
            f"--push {repository}: {endpoint()} can't be reached; check the connection, HF_ENDPOINT and HF_HUB_OFFLINE "
            f"({first_line(error)})"
        ) from error


def push(hub: Hub, files: Sequence[Path], message: str) -> Pushed:
    """Commits the files under their names to the repository's main branch, and makes the repository if there is none.

    Raises TlegError if the repository is someone else's, or if the hub refuses: then no file in it has changed.
    """
    from huggingface_hub import CommitOperationAdd

    with _errors_of(hub) as notes:
        created = _make_repository(hub)
        operations = [CommitOperationAdd(file.name, str(file)) for file in files]
        try:
            commit = hub.api.create_commit(hub.repository, operations, commit_message=message)
        except Exception as error:
            _explain(hub, error, created)
    url = f"{endpoint()}/{hub.repository}"
    return Pushed(url, commit.oid, created, tuple(notes))


def _make_repository(hub: Hub) -> bool:
    """Whether it was made now. Raises TlegError if it can't be, or is public where a private one is wanted."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        hub.api.create_repo(hub.repository, private=True if hub.private else None)
        return True
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status not in (401, 403, 409):
            raise
        found = hub.api.repo_info(hub.repository) if hub.api.repo_exists(hub.repository) else None
        if found is None:
            raise TlegError(f"{hub.user} may not make the repository {hub.repository}: {_SAY_WRITE}") from error
        if hub.private and not found.private:
            raise TlegError(
                f"{hub.repository} exists and is public; --private is for new repositories. Choose another name, or leave --private out"
            ) from error
        return False


def _explain(hub: Hub, error: Exception, created: bool) -> NoReturn:
    """Why no file was committed."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        raise TlegError(f"{hub.repository} exists, and {hub.user} may not write to it: {_SAY_WRITE}") from error
    state = "the new repository is empty" if created else "the repository is as it was"
    lines = " ".join(str(error).split())
    raise TlegError(f"nothing was pushed to {hub.repository}, {state}: {first_line(lines, 400)}") from error


@contextmanager
def _errors_of(hub: Hub) -> Iterator[list[str]]:
    """Takes the hub's warnings, and shows its progress bars to people only."""
    from huggingface_hub.utils import disable_progress_bars

    notes: list[str] = []
    if not sys.stderr.isatty():
        disable_progress_bars()
    with quiet(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield notes
        except TlegError:
            raise
        except Exception as error:
            _explain(hub, error, created=False)
        notes += [" ".join(str(one.message).split()) for one in caught if issubclass(one.category, UserWarning)]
