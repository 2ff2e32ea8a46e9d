"""Benchmarks: agreement first, then quality and speed, always against a named opponent."""
