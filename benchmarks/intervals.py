"""How often a 95 % interval of a few seeds holds the mean: `python -m benchmarks.intervals`. Why `tleg lab` uses Student's t."""

import itertools

import numpy as np
from scipy import stats

SEEDS, TRIALS, SLOW_TRIALS = 3, 20_000, 1_000


def main() -> None:
    """Normal values with mean 0, as many as there are seeds; the share of trials whose interval holds 0."""
    values = np.random.default_rng(0).normal(size=(TRIALS, SEEDS))
    every_resample = np.array(list(itertools.product(range(SEEDS), repeat=SEEDS)))  # the exact bootstrap distribution
    means = values[:, every_resample].mean(axis=2)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    half = stats.t.ppf(0.975, SEEDS - 1) * stats.sem(values, axis=1)
    bca = [stats.bootstrap((row,), np.mean, n_resamples=999, rng=0).confidence_interval for row in values[:SLOW_TRIALS]]
    print(f"bootstrap, percentile: {np.mean((low <= 0) & (high >= 0)):.3f}")
    print(
        f"scipy.stats.bootstrap, BCa ({SLOW_TRIALS} trials): {np.mean([one.low <= 0 <= one.high for one in bca]):.3f}"
    )
    print(f"Student's t: {np.mean(abs(values.mean(axis=1)) <= half):.3f}")


if __name__ == "__main__":
    main()
