"""Images: sources, FFCV and folder loaders with one interface, augmentation on the device."""
