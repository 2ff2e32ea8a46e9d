"""On a GPU: skdict beside its opponents, with the shares of what the card can copy and multiply.

All run in one process, one after another. Without a GPU nothing is measured, which is said.
"""

import tempfile
from contextlib import suppress
from dataclasses import replace

from benchmarks.gpu_codes import measure_icfl_codes, measure_omp
from benchmarks.gpu_device import (
    MODES,
    OPPONENT_MODES,
    describe_card,
    measure_rates,
    why_missing,
)
from benchmarks.gpu_goals import GPU_GOALS, verdict_of_line
from benchmarks.gpu_steps import measure_icfl_step, measure_reading, measure_sae_step
from benchmarks.gpu_works import Bench
from benchmarks.problems import Problem
from benchmarks.race import section

WORKS = (measure_icfl_codes, measure_icfl_step, measure_sae_step, measure_omp, measure_reading)
FULL = {"model": Problem(1664, 8192, 100, 8192), "omp": Problem(1024, 8192, 100, 8192)}
QUICK = {"model": Problem(32, 256, 10, 256), "omp": Problem(32, 256, 10, 64)}


def run(options):
    """Measure what can be measured on ``options.device``; the section of the results."""
    bench = Bench(
        device=options.device,
        quick=options.quick,
        folder="",
        n_threads=options.threads,
        opponents=options.opponents,
        **(QUICK if options.quick else FULL),
    )
    content = {"reason": why_missing(options.device), "card": None, "rates": {}, "lines": []}
    if content["reason"] is None:
        content |= measure_all(bench)
    result = section(
        options.threads,
        quick=options.quick,
        device=options.device,
        problem={"model": bench.model.describe(), "omp": bench.omp.describe()},
        **content,
    )
    return result | {"goals": verdicts(result)}


def measure_all(bench):
    """Card, its rates and all lines."""
    import torch

    card = describe_card(bench.device)
    rates = measure_rates(bench.device, quick=bench.quick)
    lines = []
    with tempfile.TemporaryDirectory(prefix="skdict-bench-") as folder:
        bench = replace(bench, folder=folder)
        for measure_work in WORKS:
            for line in measure_work(bench):
                lines.append(line | shares(line, rates))
                counts = card is not None and not bench.quick
                print(describe_line(lines[-1], counts=counts), flush=True)
                with suppress(RuntimeError):  # a broken GPU fails the next line, which says so
                    if card is not None:
                        torch.cuda.empty_cache()  # the next one may need all of the memory
    return {"card": card, "rates": rates, "lines": lines}


def shares(line, rates):
    """Shares of the copy bandwidth and of the matrix rate that a timed line achieves."""
    if "n_bytes" not in line:
        return {}
    product = rates[(MODES | OPPONENT_MODES)[line["mode"]]]
    return {
        "bandwidth_share": line["n_bytes"] / line["seconds"] / (1e9 * rates["copy_gb_s"]),
        "matrix_share": line["n_flops"] / line["seconds"] / (1e9 * product),
    }


def verdicts(section_of_gpu):
    """The goals with figure and verdict, as the results keep them."""
    rows = []
    for goal in GPU_GOALS:
        figure, verdict = goal.measure({"gpu": section_of_gpu})
        rows.append(
            {
                "work": goal.work,
                "figure": goal.figure,
                "goal": goal.statement(),
                "measured": figure,
                "verdict": verdict,
            }
        )
    return rows


def describe_line(line, *, counts):
    """One line of the printed table; whether its figure counts for the goals."""
    head = f"{line['work']:14} {line['label']:50} {line['mode']:8}"
    if line["status"] != "ok":
        return f"{head} {line['status']}: {line['detail']}"
    verdict = verdict_of_line(line, counts=counts)
    text = f"{head} {line['figure']:12,.4g} {line['unit']:6} {verdict:32}"
    if "bandwidth_share" in line:
        text += f" {line['bandwidth_share']:7.1%} of copy, {line['matrix_share']:6.1%} of product;"
    return f"{text} {line['agreement']}" + (f"; {line['detail']}" if line["detail"] else "")


def print_section(result):
    """Say where it was measured, and the goals; the lines were printed as they came."""
    print(f"\n== gpu: device {result['device']}", flush=True)
    if result["reason"] is not None:
        print(f"No GPU to measure on: {result['reason']}.\nThe figures on a GPU are unmeasured.")
    else:
        card, rates = result["card"], result["rates"]
        if card is None:
            print("The CPU stands in for a GPU: this tests the benchmark and measures no goal.")
        else:
            print(", ".join(f"{name} {value}" for name, value in card.items()))
        print(
            f"copy {rates['copy_gb_s']:,.4g} GB/s read and written; products: float32 "
            f"{rates['float32']:,.5g}, TF32 {rates['TF32']:,.5g} GFLOP/s"
        )
    for row in result["goals"]:
        measured = "" if row["measured"] is None else f"{row['measured']:,.4g}"
        goal = f"{row['work']:66} {row['figure']:42} {row['goal']:>18}"
        print(f"{goal} {measured:>10}  {row['verdict']}")
