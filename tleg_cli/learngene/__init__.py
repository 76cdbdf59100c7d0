"""The learngene: W_l = sum_k basis[l, k] * theta_k, and everything that follows from it. Knows torch and nothing else."""
