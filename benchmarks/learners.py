"""Dictionary learners of several packages: a number of steps in, seconds and atoms out.

Every learner works in a process of its own (`benchmarks.processes`), imports its package there, and
gets the same centred float32 rows, number of atoms and number of non-zeros. Batch sizes and
all else are the package's defaults where they can be.
"""

import math
import time
from pathlib import Path

import numpy as np


class Learner:
    """A way to learn a dictionary.

    Attributes
    ----------
    label : str
        Name in the tables.
    package : str
        Distribution whose version is shown, and without which the learner is missing.
    """

    label = ""
    package = "skdict"

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, folder, n_atoms, n_nonzero):
        """Load the rows, compile, and prepare what is not timed."""
        self.X = np.load(Path(folder) / "train.npy")
        self.held_out = np.load(Path(folder) / "held_out.npy")
        self.n_atoms, self.n_nonzero = n_atoms, n_nonzero
        self.prepare()
        self.learn(1, 0)

    def prepare(self):
        """Import the package and choose what depends on the data."""

    def learn(self, n_steps, seed):
        """Learn from scratch in so many steps and return the atoms, one per row."""
        raise NotImplementedError

    def own_variance(self):
        """Explained variance of the held-out rows by the learner's own codes, if it has any."""
        return None

    def fit(self, n_steps, seed):
        """Seconds, atoms and the explained variance by own codes."""
        start = time.perf_counter()
        atoms = self.learn(n_steps, seed)
        return time.perf_counter() - start, np.array(atoms, np.float32), self.own_variance()


class SkdictAdam(Learner):
    """`ICFLDictionary(solver="adam")`."""

    label = 'skdict ICFL, "adam"'
    solver = "adam"
    init = "random"

    def learn(self, n_steps, seed):
        """Fit; the learning rate falls to zero over the steps."""
        from skdict import ICFLDictionary

        self.model = ICFLDictionary(
            self.n_atoms,
            n_nonzero_coefs=self.n_nonzero,
            solver=self.solver,
            init=self.init,
            max_steps=n_steps,
            random_state=seed,
        ).fit(self.X)
        return self.model.components_

    def own_variance(self):
        """Score of the model."""
        return self.model.score(self.held_out)


class SkdictOnline(SkdictAdam):
    """`ICFLDictionary(solver="online")`."""

    label = 'skdict ICFL, "online"'
    solver = "online"


class SkdictOnlineFromSamples(SkdictOnline):
    """The online solver from rows of the data, as SPAMS starts."""

    label = 'skdict ICFL, "online", init="samples"'
    init = "samples"


class SklearnMiniBatch(Learner):
    """`sklearn.decomposition.MiniBatchDictionaryLearning`, which learns with l1-penalised codes.

    The penalty is the one at which codes of the initial atoms have the wanted number of
    non-zeros on average; searching it is not timed.
    """

    label = "scikit-learn MiniBatchDictionaryLearning"
    package = "scikit-learn"

    def prepare(self):
        """Choose the penalty on a few rows."""
        from sklearn.decomposition import sparse_encode

        rng = np.random.default_rng(0)
        rows = self.X[rng.choice(len(self.X), 64, replace=False)]
        atoms = rng.standard_normal((self.n_atoms, self.X.shape[1]), np.float32)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        high = float(np.abs(rows @ atoms.T).max())
        low = high * 1e-3
        for _ in range(8):
            self.alpha = math.sqrt(low * high)
            codes = sparse_encode(rows, atoms, algorithm="lasso_lars", alpha=self.alpha)
            if np.count_nonzero(codes) > self.n_nonzero * len(rows):
                low = self.alpha
            else:
                high = self.alpha

    def learn(self, n_steps, seed):
        """Learn with least angle regression, the default."""
        from sklearn.decomposition import MiniBatchDictionaryLearning

        model = MiniBatchDictionaryLearning(
            self.n_atoms, alpha=self.alpha, batch_size=256, random_state=seed
        )
        return learn_by_partial_fit(model, self.X, 256, n_steps, seed)


class DictlearnMiniBatch(Learner):
    """`dictlearn.MiniBatchDictionaryLearning`: Mairal's algorithm with OMP codes."""

    label = "dictlearn MiniBatchDictionaryLearning"
    package = "dictlearn"

    def learn(self, n_steps, seed):
        """Learn batch by batch."""
        from dictlearn import MiniBatchDictionaryLearning

        model = MiniBatchDictionaryLearning(
            self.n_atoms, n_nonzero_coefs=self.n_nonzero, random_state=seed
        )
        return learn_by_partial_fit(model, self.X, 256, n_steps, seed)


class SpamsTrainDL(Learner):
    """`spams.trainDL` with a bound on the number of non-zeros (mode 3)."""

    label = "SPAMS trainDL"
    package = "spams-bin"

    def prepare(self):
        """Bring the rows into SPAMS's layout, one column per row."""
        import spams

        self.spams = spams
        self.columns = np.asfortranarray(self.X.T)

    def learn(self, n_steps, seed):
        """Learn from random rows; SPAMS draws them itself."""
        return self.spams.trainDL(
            self.columns,
            K=self.n_atoms,
            lambda1=self.n_nonzero,
            mode=3,
            iter=n_steps,
            batchsize=min(512, len(self.X)),
            numThreads=self.n_threads,
            verbose=False,
        ).T


class TorchTopK(Learner):
    """A TopK sparse autoencoder in plain torch: tied start, Adam, unit decoder columns."""

    label = "torch TopK autoencoder"
    package = "torch"

    def prepare(self):
        """Import torch."""
        import torch

        torch.set_num_threads(self.n_threads)
        self.torch = torch

    def learn(self, n_steps, seed):
        """Learn with Adam at 1e-3, falling linearly to zero."""
        torch = self.torch
        torch.manual_seed(seed)
        X = torch.from_numpy(self.X)
        scale = X.square().sum(1).mean().sqrt()
        decoder = torch.nn.functional.normalize(torch.randn(self.n_atoms, X.shape[1]), dim=1)
        self.parameters = [decoder.clone(), decoder, torch.zeros(self.n_atoms)]
        self.parameters += [torch.zeros(X.shape[1])]
        for parameter in self.parameters:
            parameter.requires_grad_()
        optimiser = torch.optim.Adam(self.parameters, lr=1e-3)
        batch_size = min(max(self.n_atoms, 256), len(X))
        for step in range(n_steps):
            optimiser.param_groups[0]["lr"] = 1e-3 * (1 - step / n_steps)
            batch = X[torch.randint(len(X), (batch_size,))] / scale
            loss = (self.reconstruct(batch) - batch).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                decoder /= decoder.norm(dim=1, keepdim=True)
        self.scale = scale
        return decoder.detach().numpy()

    def reconstruct(self, batch):
        """Reconstruct rows from their largest pre-activations."""
        encoder, decoder, encoder_bias, bias = self.parameters
        values, indices = ((batch - bias) @ encoder.T + encoder_bias).topk(self.n_nonzero, dim=1)
        codes = self.torch.zeros(len(batch), self.n_atoms).scatter(1, indices, values.relu())
        return codes @ decoder + bias

    def own_variance(self):
        """Explained variance by the autoencoder's own codes."""
        with self.torch.no_grad():
            rows = self.torch.from_numpy(self.held_out) / self.scale
            left = (rows - self.reconstruct(rows)).var(0).sum() / rows.var(0).sum()
        return 1 - float(left)


def learn_by_partial_fit(model, X, batch_size, n_steps, seed):
    """Feed shuffled batches to ``partial_fit`` so that exactly `n_steps` steps are made."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    batch_size = min(batch_size, len(X))
    for _ in range(n_steps):
        if len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(len(X))])
        model.partial_fit(X[order[:batch_size]])
        order = order[batch_size:]
    return model.components_


LEARNERS = (
    SkdictAdam,
    SkdictOnline,
    SkdictOnlineFromSamples,
    SklearnMiniBatch,
    DictlearnMiniBatch,
    SpamsTrainDL,
    TorchTopK,
)
