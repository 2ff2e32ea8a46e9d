"""Benchmarks for airspeed velocity: time, peak memory and one figure of quality each.

``asv run --config benchmarks/asv.conf.json`` follows them over commits; ``--python same`` measures
the installed package. They stand alone: only skdict, NumPy and SciPy are imported.
"""
