"""Forward passes of cells with one gene exchanged, each pair of cells once for all its concepts."""

from __future__ import annotations

import time

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skdict.genes._exchange import Exchange
from skdict.genes._forward import Forward
from skdict.genes._swap_store import SwapStore

# Batches in a part of the result that is kept as a whole; the last of them is rarely full.
_PART_BATCHES = 16
_PART_ARRAYS = ("combination", "feature", "code", "pre")
# Values of the activations, of rows by concepts, that are held at a time.
_ACTIVATION_VALUES = 1 << 22
# Pairs whose rows are held at a time while their differences are counted.
_PLANNED_VALUES = 1 << 23
# Seconds between lines of progress with verbose=1.
_EVERY = 10.0
# Largest change of a resumed run's first embeddings, relative to the largest, that is rounding.
_ROUNDING = 1e-4
# Share of them that rounding may give another number of active concepts.
_FEW = 0.01


class SwapPlan:
    """Which pairs of cells are run, for which concepts.

    A *combination* is a pair of cells and a concept; several rows may ask for the same one.

    Parameters
    ----------
    exchange : Exchange
        What is exchanged.
    prototype, counterfactual, position : ndarray of int, shape (n_rows,)
        Pairs asked for, and the place of the concept.

    Attributes
    ----------
    pairs : ndarray of int, shape (n_pairs, 2)
        Distinct pairs of cells.
    cells : ndarray of int, shape (n_prototypes,)
        Distinct prototypes.
    place : ndarray of int, shape (n_pairs,)
        Place of each pair's prototype in `cells`.
    combination : ndarray of int, shape (n_rows,)
        Combination of each row asked for.
    pair_of, concept_of : ndarray of int, shape (n_combinations,)
        Pair and place of the concept of each combination, ordered by pair.
    changed : list of ndarray of int
        Features in which each pair differs.
    """

    def __init__(self, exchange: Exchange, prototype, counterfactual, position):
        self.exchange = exchange
        if exchange.variant == "mask":
            counterfactual = np.full_like(prototype, -1)  # the partner plays no part
        rows = np.column_stack([prototype, counterfactual, position])
        distinct, combination = np.unique(rows, axis=0, return_inverse=True)
        self.combination = combination.reshape(-1)
        self.pairs, self.pair_of = np.unique(distinct[:, :2], axis=0, return_inverse=True)
        self.pair_of = self.pair_of.reshape(-1)
        self.concept_of = distinct[:, 2]
        self.first = np.searchsorted(self.pair_of, np.arange(self.pairs.shape[0] + 1))
        self.cells, self.place = np.unique(self.pairs[:, 0], return_inverse=True)
        self.changed: list[np.ndarray] = []
        width = max(1, _PLANNED_VALUES // exchange.counts.n_genes)
        for start in range(0, self.pairs.shape[0], width):
            block = self.pairs[start : start + width]
            for before, after in zip(*exchange.profiles(block[:, 0], block[:, 1])):
                self.changed.append(exchange.changed(before, after))

    @property
    def n_swaps(self) -> int:
        """Forward passes with one feature exchanged."""
        return sum(features.shape[0] for features in self.changed)

    def parts(self, batch_size: int) -> list[range]:
        """Pairs of each part: as many as fill some batches."""
        bounds, rows = [0], 0
        for pair, features in enumerate(self.changed):
            rows += features.shape[0]
            if rows >= _PART_BATCHES * batch_size:
                bounds.append(pair + 1)
                rows = 0
        if bounds[-1] < len(self.changed):
            bounds.append(len(self.changed))
        return [range(start, stop) for start, stop in zip(bounds[:-1], bounds[1:])]

    def batches(self, pairs: range, batch_size: int):
        """Yield batches, each a list of (pair, features that its rows exchange)."""
        batch, filled = [], 0
        for pair in pairs:
            features = self.changed[pair]
            while features.shape[0]:
                taken, features = np.split(features, [batch_size - filled])
                batch.append((pair, taken))
                filled += taken.shape[0]
                if filled == batch_size:
                    yield batch
                    batch, filled = [], 0
        if batch:
            yield batch


class SwapRun:
    """Runs a plan and collects by how much each exchange lowers the activations.

    Parameters
    ----------
    plan : SwapPlan
        What to run.
    forward : Forward
        The model.
    model : DictionaryConcepts or DirectionConcepts
        The concepts.
    concepts : ndarray of int, shape (n_concepts,)
        Concepts that the places in the plan stand for.
    store : SwapStore
        Where parts are kept.
    verbose : int
        0 prints nothing, 1 a line about every ten seconds, 2 a line per part.
    """

    def __init__(
        self, plan: SwapPlan, forward: Forward, model, concepts, store: SwapStore, verbose
    ):
        self.plan, self.forward, self.model, self.concepts = plan, forward, model, concepts
        self.store, self.verbose = store, verbose
        self.n_repeated = self.n_kept = 0

    def start(self, with_all) -> Bunch:
        """Embeddings and activations of prototypes, and of pairs with everything exchanged.

        Parameters
        ----------
        with_all : ndarray of int, shape (n_taken,)
            Pairs to run with everything exchanged.

        Returns
        -------
        Bunch
            embeddings : ndarray, shape (n_prototypes, n_features)
                Embeddings of ``plan.cells``.
            code, pre : ndarray, shape (n_combinations,)
                Activations of the prototype of each combination.
            code_all, pre_all : ndarray, shape (n_combinations,)
                The same with everything exchanged; NaN for pairs that were not run.
            steady : bool
                Whether equal rows get equal embeddings bit by bit.
        """
        plan, kept = self.plan, self.store.load("start")
        n_checked = plan.cells.shape[0] if kept is None else self.forward.batch_size
        checked = self._embed_prototypes(plan.cells[:n_checked])
        row = plan.exchange.counts.rows(plan.cells[:1], plan.exchange.dtype)[0]
        self.steady = self.forward.is_steady(row, checked[0])
        if kept is None:
            rows = plan.place[plan.pair_of]
            code, pre = self._activations(checked, rows, plan.concept_of)
            code_all, pre_all = self._with_all(with_all)
            kept = {"embeddings": checked, "code": code, "pre": pre}
            kept["n_active"] = self._n_active(checked)
            kept |= {"code_all": code_all, "pre_all": pre_all}
            self.store.save("start", kept)
        else:
            self._check_same(kept, checked)
        self.embeddings, self.code, self.pre = (kept[n] for n in ("embeddings", "code", "pre"))
        return Bunch(**kept, steady=self.steady)

    def _n_active(self, embeddings) -> np.ndarray:
        """Number of concepts with a code, of every row: what a sparsity decides."""
        return np.diff(self.model.codes(embeddings).indptr)

    def _check_same(self, kept, checked) -> None:
        """Raise where the model that goes on is not the one that began."""
        known = kept["embeddings"][: checked.shape[0]]
        if known.shape[1] == checked.shape[1]:
            if np.abs(known - checked).max() <= _ROUNDING * np.abs(known).max():
                rows = self.plan.place[self.plan.pair_of]
                found = self._activations(kept["embeddings"], rows, self.plan.concept_of)
                same = [
                    np.abs(values - kept[name]).max() <= _ROUNDING * np.abs(values).max()
                    for name, values in zip(("code", "pre"), found)
                ]
                other = self._n_active(kept["embeddings"]) != kept["n_active"]
                if all(same) and other.mean() <= _FEW:
                    return
        raise ValueError(
            f"resume={str(self.store.folder)!r} holds a result of another embed or model: "
            "prototypes have other embeddings or activations. Choose another folder, or delete "
            "this one to start again"
        )

    def _embed_prototypes(self, cells) -> np.ndarray:
        found, size = [], self.forward.batch_size
        for start in range(0, cells.shape[0], size):
            rows = self.plan.exchange.counts.rows(
                cells[start : start + size], self.plan.exchange.dtype
            )
            found.append(self.forward.run_rows(rows))
        return np.concatenate(found)

    def _with_all(self, pairs):
        """Activations of the combinations of some pairs, with everything exchanged."""
        plan, forward = self.plan, self.forward
        code, pre = np.full((2, plan.pair_of.shape[0]), np.nan)
        for start in range(0, pairs.shape[0], forward.batch_size):
            taken = pairs[start : start + forward.batch_size]
            before, after = plan.exchange.profiles(*plan.pairs[taken].T)
            plan.exchange.fill_all(forward.batch[: taken.shape[0]], before, after)
            rows, combinations = self._combinations(taken)
            found = forward.run(taken.shape[0])
            code[combinations], pre[combinations] = self._activations(
                found, rows, plan.concept_of[combinations]
            )
        return code, pre

    def _combinations(self, pairs):
        """Combinations of each of some pairs, and the place of the pair that each belongs to."""
        first, last = self.plan.first[pairs], self.plan.first[pairs + 1]
        rows = np.repeat(np.arange(pairs.shape[0]), last - first)
        within = np.arange(rows.shape[0]) - np.repeat(
            np.cumsum(last - first) - (last - first), last - first
        )
        return rows, first[rows] + within

    def _activations(self, embeddings, rows, positions):
        """Codes and pre-activations of some concepts on some rows, one each.

        Parameters
        ----------
        embeddings : ndarray, shape (n_rows, n_features)
            Embeddings.
        rows, positions : ndarray of int, shape (n_asked,)
            Row and place of the concept.

        Returns
        -------
        code, pre : ndarray, shape (n_asked,)
            The activations.
        """
        code, pre = np.zeros((2, rows.shape[0]))
        if rows.shape[0] == 0:
            return code, pre
        distinct = np.unique(positions)
        height = max(1, _ACTIVATION_VALUES // distinct.shape[0])
        order = np.argsort(rows, kind="stable")
        for start in range(0, embeddings.shape[0], height):
            bounds = np.searchsorted(rows[order], [start, start + height])
            asked = order[slice(*bounds)]
            if asked.shape[0] == 0:
                continue
            wanted, column = np.unique(positions[asked], return_inverse=True)
            block = embeddings[start : start + height]
            place = rows[asked] - start, column
            chosen = self.concepts[wanted]
            codes, pre_activations = self.model.activations(block, chosen)
            code[asked], pre[asked] = codes.toarray()[place], pre_activations[place]
        return code, pre

    def run(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Change of code and pre-activation by every combination and feature.

        Returns
        -------
        code, pre : csr_array, shape (n_combinations, n_features)
            Activation of the prototype minus that with the feature exchanged.
        """
        parts = self.plan.parts(self.forward.batch_size)
        progress = _Progress(self.verbose, self.plan.n_swaps)
        results = []
        for number, pairs in enumerate(parts):
            name = f"part-{number:06d}"
            found, kept = self.store.load(name), True
            if found is None:
                found, kept = self._part(pairs), False
                self.store.save(name, found)
            results.append(found)
            n_passes = sum(self.plan.changed[pair].shape[0] for pair in pairs)
            self.n_kept += n_passes if kept else 0
            progress.step(n_passes, kept)
        progress.end()
        shape = self.plan.pair_of.shape[0], self.plan.exchange.n_features
        places = [
            np.concatenate([part[name] for part in results]) for name in ("combination", "feature")
        ]
        return tuple(
            sparse.csr_array(
                (np.concatenate([part[name] for part in results]), tuple(places)), shape
            )
            for name in ("code", "pre")
        )

    def _part(self, pairs: range) -> dict:
        """Changes of some pairs, those that are not zero."""
        found = [self._batch(batch) for batch in self.plan.batches(pairs, self.forward.batch_size)]
        if not found:  # the cells of these pairs are equal
            return dict(
                zip(_PART_ARRAYS, (np.empty(0, dtype) for dtype in ("i8", "i4", "f8", "f8")))
            )
        pair, feature, moved = (np.concatenate(arrays) for arrays in zip(*found))
        rows, combinations = self._combinations(pair)
        code, pre = self._activations(moved, rows, self.plan.concept_of[combinations])
        code, pre = self.code[combinations] - code, self.pre[combinations] - pre
        kept = (code != 0) | (pre != 0)
        arrays = combinations, feature[rows], code, pre
        return {name: array[kept] for name, array in zip(_PART_ARRAYS, arrays)}

    def _batch(self, batch):
        """Pairs, features and embeddings of the rows of a batch whose embedding changes."""
        plan, forward = self.plan, self.forward
        pair = np.repeat([pair for pair, _ in batch], [taken.shape[0] for _, taken in batch])
        feature = np.concatenate([taken for _, taken in batch]).astype(np.int32)
        chosen = plan.pairs[[pair for pair, _ in batch]]
        before, after = plan.exchange.profiles(*chosen.T)
        start = 0
        for (_, taken), one, other in zip(batch, before, after):
            rows = forward.batch[start : start + taken.shape[0]]
            plan.exchange.fill(rows, one, other, taken)
            start += taken.shape[0]
        found = forward.run(start)
        base = self.embeddings[plan.place[pair]]
        if not self.steady:
            # the same rows unchanged, each in the same place of a batch of the same shape
            forward.batch[:start] = np.repeat(
                before, [taken.shape[0] for _, taken in batch], axis=0
            )
            base = forward.run(start)
            self.n_repeated += start
        # An embedding that did not change has the same activations, without rounding.
        moved = np.flatnonzero((found != base).any(axis=1))
        return pair[moved], feature[moved], found[moved]


class _Progress:
    """Lines of progress: passes done, and the time that is left.

    Parameters
    ----------
    verbose : int
        How much to print.
    total : int
        Passes in all.
    """

    def __init__(self, verbose: int, total: int):
        self.verbose, self.total = verbose, total
        self.done = self.computed = 0
        self.started = self.printed = time.monotonic()

    def step(self, n_passes: int, kept: bool) -> None:
        """Count the passes of a part that was run, or kept from before."""
        self.done += n_passes
        self.computed += 0 if kept else n_passes
        if self.verbose > 1 or (self.verbose and time.monotonic() - self.printed >= _EVERY):
            self._print()

    def end(self) -> None:
        """Print the last line."""
        if self.verbose:
            self._print()

    def _print(self) -> None:
        self.printed = time.monotonic()
        seconds = self.printed - self.started
        parts = [f"[genes] {self.done:,} of {self.total:,} forward passes"]
        if self.done > self.computed:
            parts.append(f"{self.done - self.computed:,} of them kept from before")
        if self.computed:
            left = seconds / self.computed * (self.total - self.done)
            parts += [f"{self.computed / max(seconds, 1e-9):,.0f} per second", f"{left:.0f} s left"]
        print(", ".join(parts), flush=True)
