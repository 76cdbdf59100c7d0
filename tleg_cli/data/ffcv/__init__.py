"""FFCV's .beton files: written, checked and read behind a guard."""
