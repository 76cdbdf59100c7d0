"""The presets that come with tleg, one file per family. `tleg presets` lists them."""
