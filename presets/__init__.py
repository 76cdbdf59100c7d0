"""Shipped presets: one family a file. `tleg presets` lists them."""
