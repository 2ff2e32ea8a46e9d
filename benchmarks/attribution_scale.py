"""Counterfactual attribution of 50 concepts to 2,000 genes, on a small torch model on the CPU.

An autoencoder (2,000 -> 128 -> 32 and back, on log-normalised counts) is trained on planted counts
of 5,000 cells, and a dictionary of 256 concepts, TopK or ICFL, on its embeddings. The 50 concepts
that most cells activate get 10 prototypes in each half of the donors, with and without 10 null
sets. Before any time is taken, attributions of two concepts are compared between two batch sizes.
"""

import argparse
import time

import numpy as np

from benchmarks.machine import describe_machine, n_cores
from benchmarks.processes import Worker

# cells, genes, concepts attributed, prototypes, null sets, epochs, steps of the dictionary
FULL = (5000, 2000, 50, 10, 10, 15, 1000)
QUICK = (600, 200, 4, 3, 2, 2, 30)


class Attribution:
    """A contestant of `benchmarks.processes`: the model and what is measured on it."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, n_cells, n_genes, n_concepts, n_prototypes, n_null, n_epochs, n_steps, kind):
        """Draw counts, train the encoder and the dictionary, and find the pairs."""
        import torch

        from skdict import ICFLDictionary, TopKSAE
        from skdict.datasets import make_driver_genes
        from skdict.genes import DictionaryConcepts, find_counterfactuals, null_counterfactuals

        torch.set_num_threads(self.n_threads)
        torch.manual_seed(0)
        data = make_driver_genes(
            n_cells=n_cells, n_genes=n_genes, n_concepts=8 if n_genes > 500 else 2,
            active_fraction=0.15, mean_count=0.15, random_state=0,
        )  # fmt: skip
        self.counts, self.genes = data.counts, data.genes
        self.encoder = train(torch, data.counts, n_epochs)
        with torch.no_grad():
            E = self.encoder(torch.from_numpy(data.counts.toarray())).numpy()
        dictionary = TopKSAE if kind == "TopK" else ICFLDictionary
        self.model = DictionaryConcepts(
            dictionary(256, n_nonzero_coefs=8, max_steps=n_steps, random_state=0).fit(E)
        )
        uses = np.diff(self.model.codes(E).tocsc().indptr)
        self.pairs = find_counterfactuals(
            E, self.model, np.argsort(-uses)[:n_concepts], n_prototypes=n_prototypes,
            depth=data.counts.sum(axis=1), units=data.donor, random_state=0,
        )  # fmt: skip
        started = time.perf_counter()
        self.null = null_counterfactuals(
            self.pairs, data.counts, E, self.model, n_null=n_null, random_state=0
        )
        return {
            "alive": int(np.count_nonzero(uses)),
            "density": data.counts.nnz / n_cells / n_genes,
            "null_seconds": time.perf_counter() - started,
        }

    def agreement(self):
        """Largest difference between two batch sizes, relative to the largest attribution."""
        few = [self._run(None, size, first=2) for size in (256, 77)]
        differences = []
        for name in ("pre", "code"):
            one, other = (found if name == "code" else found.pre for found in few)
            scale = np.nanmax(np.abs(one.attribution))
            differences.append(np.nanmax(np.abs(one.attribution - other.attribution)) / scale)
        return differences

    def attribute(self, with_null, batch_size=256):
        """Seconds and passes of an attribution, and those of the model alone on such batches."""
        started, processor = time.perf_counter(), time.process_time()
        found = self._run(self.null if with_null else None, batch_size)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "processor_seconds": time.process_time() - processor,
            "passes": dict(found.passes),
            "model_seconds": self._model(batch_size) * found.passes.n_total / batch_size,
            "confirmation": float(np.nanmedian(found.pre.confirmation_correlation)),
            "completeness": float(np.nanmedian(found.pre.completeness)),
        }

    def _model(self, batch_size):
        """Seconds of one forward pass of the model, the median of some."""
        import torch

        batch = torch.from_numpy(self.counts[:batch_size].toarray())
        seconds = []
        with torch.no_grad():
            for _ in range(30):
                started = time.perf_counter()
                self.encoder(batch)
                seconds.append(time.perf_counter() - started)
        return float(np.median(seconds[5:]))

    def _run(self, null, batch_size, first=None):
        from skdict.genes import Counterfactuals, attribute_genes

        pairs = self.pairs
        if first is not None:
            kept = pairs.position < first
            rows = {
                name: values[kept]
                for name, values in pairs.items()
                if isinstance(values, np.ndarray) and values.shape == kept.shape
            }
            pairs = Counterfactuals(**(pairs | rows | {"concepts": pairs.concepts[:first]}))
        return attribute_genes(
            self.counts, self.encoder, self.model, pairs, genes=self.genes, null=null,
            batch_size=batch_size,
        )  # fmt: skip


def train(torch, counts, n_epochs):
    """Encoder of an autoencoder of log-normalised counts."""
    n_genes = counts.shape[1]

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layers = torch.nn.Linear(n_genes, 128), torch.nn.ReLU(), torch.nn.Linear(128, 32)
            self.layers = torch.nn.Sequential(*layers)

        def forward(self, X):
            return self.layers(normalised(torch, X))

    encoder = Encoder()
    decoder = torch.nn.Sequential(
        torch.nn.Linear(32, 128), torch.nn.ReLU(), torch.nn.Linear(128, n_genes)
    )
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    X = torch.from_numpy(counts.toarray())
    for _ in range(n_epochs):
        for rows in torch.randperm(X.shape[0]).split(128):
            loss = ((decoder(encoder(X[rows])) - normalised(torch, X[rows])) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return encoder.eval()


def normalised(torch, X):
    """Log of counts per thousand."""
    return torch.log1p(X / X.sum(dim=1, keepdim=True) * 1e3)


def run(quick=False, n_threads=None, kinds=("TopK", "ICFL")):
    """Measure and print; return what was measured."""
    problem = QUICK if quick else FULL
    _, n_genes, n_concepts, n_prototypes, n_null, *_ = problem
    results = {}
    for kind in kinds:
        with Worker("benchmarks.attribution_scale:Attribution", n_threads or n_cores()) as worker:
            made = worker.call("setup", *problem, kind)
            print(
                f"{kind}: {made['alive']} of 256 concepts alive, {made['density']:.0%} of the "
                f"counts not zero; null pairs found in {made['null_seconds']:.1f} s"
            )
            pre, code = worker.call("agreement")
            print(f"  batches of 256 and 77 rows: pre-activation {pre:.1e}, code {code:.1e} apart")
            if pre > 1e-4:
                raise SystemExit("batch sizes disagree; no time is taken")
            for with_null in (False, True):
                found = worker.call("attribute", with_null)
                results[kind, with_null] = found
                passes = found["passes"]
                null = f"{n_null} null sets" if with_null else "no null"
                print(
                    f"  {n_concepts} concepts x {n_genes} genes, 2 x {n_prototypes} prototypes, "
                    f"{null}: {passes['n_total']:,} passes ({passes['n_skipped']:,} genes equal in "
                    f"both skipped, {passes['n_shared']:,} shared) in {found['seconds']:.1f} s, "
                    f"{passes['n_total'] / found['seconds']:,.0f} per second; processor time "
                    f"{found['processor_seconds']:.1f} s; the model alone "
                    f"{found['model_seconds']:.1f} s",
                    flush=True,
                )
    return results


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution_scale")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--threads", type=int, default=n_cores())
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick, options.threads)


if __name__ == "__main__":
    main()
