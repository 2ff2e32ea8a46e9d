"""Run the benchmarks, print their tables, and write results and picture."""

import argparse
import json
from importlib import import_module
from pathlib import Path

from benchmarks import goals, gpu, growth, plot, scale, side_by_side
from benchmarks.gpu_device import is_device
from benchmarks.machine import describe_machine, n_cores, read_bandwidth
from benchmarks.race import print_section, timed

RACES = tuple(side_by_side.FULL)
SPEED = (*RACES, "memory", "selectivity", "growth")
# Modules with a function ``run``: minutes each, about the models rather than the machine, so that
# they run only when named.
QUALITY = (
    "planted_recovery",
    "default_rules",
    "solvers",
    "time_to_quality",
    "choose_size",
    "probe_scale",
    "channel_scale",
    "attribution_scale",
    "enrichment_scale",
    "explorer_scale",
    "explorer_browser",
    "effects_scale",
    "effects_truth",
    "effects_real",
    "data_parallel",
    "faults",
    "streaming_scale",
    "streaming_projection",
    "callback_costs",
)
NAMES = (*SPEED, "gpu", *QUALITY)  # where there is a GPU is known to who names it


def parse_arguments(arguments=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"{', '.join(SPEED)} (all of these by default), gpu, {', '.join(QUALITY)}",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, under a minute")
    parser.add_argument("--threads", type=int, default=n_cores(), help="threads of everyone")
    parser.add_argument(
        "--opponents",
        nargs="*",
        metavar="package",
        help="packages to race against (default: all that are installed)",
    )
    parser.add_argument(
        "--memory-rows", type=int, default=200_000, help="rows of the memory map of `memory`"
    )
    parser.add_argument(
        "--device",
        default="cuda",
        help="device of `gpu`: cuda, cuda:<index>, or torch:cpu to test it with --quick",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/benchmarks/results.json"),
        help="results; sections that are there already and not run again are kept",
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if not is_device(options.device):
        parser.error(f"--device must be cuda, cuda:<index> or torch:cpu, not {options.device}")
    if options.device == "torch:cpu" and not options.quick:
        parser.error("--device torch:cpu is for tests: add --quick")
    return options


def run_one(name, options):
    """Run and print one benchmark; its section, or None where it only prints."""
    if name in RACES:
        results = side_by_side.run(name, options)
        print_section(name, results)
    elif name == "memory":
        results = scale.run_memory(options)
        scale.print_memory(results)
    elif name == "selectivity":
        results = scale.run_selectivity(options)
        scale.print_selectivity(results)
    elif name == "gpu":
        results = gpu.run(options)
        gpu.print_section(results)
    elif name == "growth":
        results = growth.run(options)
        growth.print_growth(results)
    else:
        module = import_module(f"benchmarks.{name}")
        print(f"\n== {name}: {module.__doc__.splitlines()[0]}", flush=True)
        module.run()
        return None
    return results


def main(arguments=None):
    """Run the benchmarks named on the command line, all of the speed by default."""
    options = parse_arguments(arguments)
    print(describe_machine(), flush=True)
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    bandwidth = read_bandwidth(options.threads, megabytes=64 if options.quick else 1024)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in options.names or SPEED:
        seconds, section_of_name = timed(lambda name=name: run_one(name, options))
        print(f"({name} took {seconds:.0f} s)", flush=True)
        if section_of_name is not None:
            results[name] = section_of_name | {"bandwidth_gb_s": bandwidth}
            options.output.write_text(json.dumps(results, indent=1) + "\n")
    if results:
        goals.print_goals(results)
        picture = options.output.with_suffix(".png")
        if plot.plot(results, picture):
            print(f"\nWrote {options.output} and {picture}.")
        else:
            print(f"\nWrote {options.output}; no picture without races and matplotlib.")


if __name__ == "__main__":
    main()
