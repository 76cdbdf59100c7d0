"""Ways to initialise a family of depths, compared at equal compute: `tleg lab`."""
