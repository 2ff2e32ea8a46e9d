"""Run the benchmarks and print one table each: ``python -m benchmarks [name ...]``."""

import argparse

from benchmarks import default_rules, planted_recovery, pursuit_speed
from benchmarks.machine import describe_machine

BENCHMARKS = {
    "planted_recovery": planted_recovery,
    "default_rules": default_rules,
    "pursuit_speed": pursuit_speed,
}


def main():
    """Run the benchmarks named on the command line, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(describe_machine())
    for name in names:
        print(f"\n== {name}: {BENCHMARKS[name].__doc__.splitlines()[0]}", flush=True)
        BENCHMARKS[name].run()


if __name__ == "__main__":
    main()
