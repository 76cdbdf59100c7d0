"""What takes a trained network to the place where it runs."""
