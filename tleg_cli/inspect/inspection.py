"""`tleg inspect` as one document of plain values; the tables, the JSON, the page and the plots only show it.

overview.py needs the header alone and no torch; measure.py and against.py add what they compute from the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tleg_cli.inspect.document import FileEntry, Inspection
from tleg_cli.inspect.layout import layout_of
from tleg_cli.inspect.overview import InspectOptions, overview
from tleg_cli.weights.read_header import read_header

SCHEMA = "tleg-inspect"
SCHEMA_VERSION = 1


def inspect_files(paths: Sequence[Path], options: InspectOptions) -> Inspection:
    """The document: `{"schema": .., "schema_version": .., "files": [..]}`, every value valid JSON."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "files": [inspect_file(path, options) for path in paths],
    }


def inspect_file(path: Path, options: InspectOptions) -> FileEntry:
    """One file. Raises FileFormatError if it can't be read, ConfigError for depths that it can't have."""
    if options.bases is None:
        return overview(layout_of(path, read_header(path, options.weights)), options.depths)
    from tleg_cli.inspect.measure import measured_file  # only now torch is needed

    document = measured_file(path, options)
    if options.against is not None:
        from tleg_cli.inspect.against import drift

        document["against"] = drift(path, options.against, options.weights)
    return document
