"""Built-in backbones, registered exactly as a third party's would be."""
