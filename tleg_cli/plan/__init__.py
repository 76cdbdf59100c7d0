"""What trainings would do, counted before they begin."""
