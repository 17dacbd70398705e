"""Benches: what the system does in a second, beside the naive way and the peers, each as ratios of one run."""
