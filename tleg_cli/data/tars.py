"""train.tar with val.tar: read by offset, so that forked workers and threads share nothing, and without unpacking.

A tar's classes are those that its unpacked folder would have. A tar may hold one tar per class, as ImageNet's does.
"""

from __future__ import annotations

import io
import logging
import os
import posixpath
import tarfile
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tleg_cli.data.class_names import in_order, is_hidden, same_classes, spell
from tleg_cli.data.folders import SUFFIXES, TRAIN, VAL, find_split
from tleg_cli.data.read_image import read_rgb
from tleg_cli.errors import DataError, first_line, printable
from tleg_cli.files import open_regular, special_file
from tleg_cli.hookspecs import Source

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger("tleg")


@dataclass(frozen=True)
class Member:
    """An image in a tar: its path below the top, and where its bytes are in the outermost file."""

    path: str
    offset: int
    size: int


def tar_source(root: Path, *, exif_orientation: bool) -> Source | None:
    """The source of train.tar and val.tar, None if neither exists. Raises DataError, also if folders of that name exist too."""
    train, val = _find_tar(root, TRAIN), _find_tar(root, VAL)
    folders = find_split(root, TRAIN), find_split(root, VAL)
    if train is None and val is None:
        return None
    for tar in (train, val):
        if tar is not None and any(folders):
            folder = next(folder for folder in folders if folder is not None)
            raise DataError(
                f"{root} has {tar.name} and the folder {folder.name}/, and it isn't clear which to use; "
                "move the tars or the folders to a folder of their own, and give that one"
            )
    if train is None or val is None:
        there, missing = (val, "train.tar") if train is None else (train, "val.tar")
        raise DataError(f"{root} has {there.name if there else ''}, but no {missing}; both splits are needed")
    classes, train_split = _listed(train)
    val_classes, val_split = _listed(val)
    same_classes(classes, val_classes, root)
    open_train, open_val = (
        partial(replace, split, exif_orientation=exif_orientation) for split in (train_split, val_split)
    )
    return Source(str(root), classes, open_train, open_val)


def _find_tar(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these tars that exists. Raises DataError for a FIFO or device, which would never end."""
    for path in (root / f"{name}.tar" for name in names):
        if os.path.isfile(path):
            return path
        if os.path.exists(path) and (kind := special_file(os.stat(path).st_mode)):
            raise DataError(f"{path} is {kind}, not a tar")
    return None


@dataclass(frozen=True)
class TarSplit:
    """The images of a tar. offsets, sizes: (images,) bytes; labels: (images,)."""

    tar: Path
    paths: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]
    exif_orientation: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        size, offset = int(self.sizes[index]), int(self.offsets[index])
        try:
            content = os.pread(self._file.fileno(), size, offset)
        except OSError as error:
            raise DataError(f"can't read {self.where(index)}: {error.strerror}") from error
        if len(content) < size:
            raise DataError(f"can't read {self.where(index)}: the tar ends before it does")
        image = read_rgb(io.BytesIO(content), self.where(index), exif_orientation=self.exif_orientation)
        return image, int(self.labels[index])

    @cached_property
    def _file(self) -> IO[bytes]:
        """One file for all workers: pread has no position that they could move for each other."""
        return open_regular(self.tar)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def where(self, index: int) -> str:
        """The tar and the member of image `index`, for messages."""
        return f"{self.tar}: {os.fsdecode(bytes(self.paths[index]))}"


def _listed(tar: Path) -> tuple[tuple[str, ...], TarSplit]:
    """The classes and images of a tar. Raises DataError."""
    try:
        found = tar.stat()
    except OSError as error:
        raise DataError(f"can't read {tar}: {error.strerror}") from error
    return _list_once(tar, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4)
def _list_once(tar: Path, size: int, changed: int) -> tuple[tuple[str, ...], TarSplit]:
    """Every loader asks for it, and a minute goes by for a million images. size, changed: another one is another file."""
    members = _list_images(tar)
    classes = in_order(members)
    found = [(member, label) for label, name in enumerate(classes) for member in members[name]]
    split = TarSplit(
        tar,
        np.array([os.fsencode(member.path) for member, _ in found], dtype=np.bytes_),
        np.array([member.offset for member, _ in found], dtype=np.int64),
        np.array([member.size for member, _ in found], dtype=np.int64),
        np.array([label for _, label in found], dtype=np.int64),
    )
    return classes, split


def _list_images(tar: Path) -> dict[str, list[Member]]:
    """Class -> its images, in the order of their paths. The class is the first folder, as it would be once unpacked."""
    listing = _TarListing()
    try:
        with open_regular(tar) as file, tarfile.open(fileobj=file, mode="r:") as opened:
            listing.add(opened, "", 0)
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"can't read {tar}: {reason}") from error
    listing.warn(tar)
    classes: dict[str, list[Member]] = {}
    for member in sorted(_below_the_top([*listing.images.values()]), key=lambda member: member.path):
        name, slash, _ = member.path.partition("/")
        if not slash:
            raise DataError(f"{tar}: {member.path} is in no class folder; images belong in CLASS/ inside the tar")
        classes.setdefault(spell(name, tar), []).append(member)
    if not classes:
        raise DataError(f"{tar} has no images ({', '.join(SUFFIXES)}) in class folders")
    return classes


def _below_the_top(members: list[Member]) -> list[Member]:
    """Without the folder that wraps all classes, as in train/CLASS/1.jpg; in CLASS/1.jpg there is none."""
    while members and all(member.path.count("/") > 1 for member in members):
        top = {member.path.partition("/")[0] for member in members}
        if len(top) > 1:
            return members
        members = [replace(member, path=member.path.partition("/")[2]) for member in members]
    return members


@dataclass
class _TarListing:
    """What a tar and the tars in it hold. Of two members with one path the later counts, as it does when they are unpacked."""

    images: dict[str, Member] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def add(self, tar: tarfile.TarFile, prefix: str, start: int) -> None:
        """Lists `tar`, whose first byte is at `start` of the outermost file, below the folder `prefix`."""
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep 2 KB for each of a million members
            path = _normal(prefix, info.name)
            if not info.isdir() and not any(map(is_hidden, path.split("/"))):
                self._member(tar, info, path, prefix, start)

    def _member(self, tar: tarfile.TarFile, info: tarfile.TarInfo, path: str, prefix: str, start: int) -> None:
        if info.islnk() and (target := self.images.get(_normal(prefix, info.linkname))):
            self.images[path] = replace(target, path=path)  # a second name of a file that is in the tar already
        elif not info.isreg() or info.issparse():
            self.links.append(path)
        elif path.lower().endswith(SUFFIXES):
            self.images[path] = Member(path, start + info.offset_data, info.size)
        elif path.lower().endswith(".tar") and not prefix:
            self._inner_tar(tar, info, posixpath.splitext(path)[0], start)
        else:
            self.others.append(path)

    def _inner_tar(self, tar: tarfile.TarFile, info: tarfile.TarInfo, prefix: str, start: int) -> None:
        """Its members lie in one piece in the outermost file too, since neither tar is compressed."""
        file = tar.extractfile(info)
        assert file is not None  # it is a regular member
        with tarfile.open(fileobj=file, mode="r:") as inner:
            self.add(inner, prefix, start + info.offset_data)

    def warn(self, tar: Path) -> None:
        """Reports what was passed over."""
        for found, what in ((self.others, "files that are not images"), (self.links, "links and special files")):
            if found:
                _log.warning("%s: passed over %d %s, such as %s", tar, len(found), what, printable(min(found)))


def _normal(prefix: str, name: str) -> str:
    return posixpath.normpath(f"{prefix}/{name}").lstrip("/")
