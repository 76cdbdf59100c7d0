"""Augmentation of whole batches on the device, drawn per sample."""
