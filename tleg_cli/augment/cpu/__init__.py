"""The compiled path of augmentation for batches on a CPU: the same draws and results. Needs numba."""
