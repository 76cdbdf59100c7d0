"""FFCV's .beton files: written, compared, read, and FFCV itself kept in check."""
