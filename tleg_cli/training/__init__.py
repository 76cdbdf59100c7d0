"""One training loop for teacher, aux net and descendants, and what it stands on."""
