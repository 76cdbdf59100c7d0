"""Augmentation of batches on their device; every sample draws its own."""
