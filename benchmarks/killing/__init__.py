"""What `benchmarks/faults.py` is made of: commands that are killed and starved, and looks at what that leaves."""
