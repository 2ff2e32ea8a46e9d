"""What takes part in a race: skdict, its opponents, and the products that bound them all.

Every class runs in a process of its own (`benchmarks.processes`). An opponent is imported in its
``setup`` only, so that a machine without it lists it as missing.
"""
