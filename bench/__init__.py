"""Side-by-side benchmarks: every figure is a ratio to a real rival, measured in the same run."""
