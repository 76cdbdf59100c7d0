"""One training loop for teacher, aux net and descendants, and what it is built on."""
