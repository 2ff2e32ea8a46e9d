"""One training step on one batch, for every package that trains such dictionaries.

All start from the same atoms without intercept and without bias, so that the loss of the first
step, and where the method is the same also the step itself, can be compared.
"""

import numpy as np

from benchmarks.contestants.base import Contestant, limit_torch_threads
from benchmarks.contestants.pursuits import icfl_codes

# Atoms whose first step is compared.
COMPARED_ATOMS = 256


class Step(Contestant):
    """Base of the training steps: ``result`` takes the first one."""

    def setup(self, problem):
        """Load the batch and the atoms."""
        self.problem = problem
        self.batch = problem.load("X")
        self.dictionary = problem.load("dictionary")
        self.learning_rate = 0.1 / np.sqrt(problem.n_features)
        self.prepare()

    def prepare(self):
        """Build the model."""
        raise NotImplementedError

    def atoms(self):
        """Return the atoms as they are now, one per row."""
        return None

    def result(self, n_rows):
        """Loss before the first step, and what it did to the first atoms."""
        loss = self.run(n_rows)
        atoms = self.atoms()
        moved = None if atoms is None else atoms[:COMPARED_ATOMS] - self.dictionary[:COMPARED_ATOMS]
        return {"loss": float(loss), "moved": moved}


class SkdictICFLStep(Step):
    """`ICFLDictionary.partial_fit` on one batch."""

    label = "skdict, ICFLDictionary"
    algorithm = "icfl step"

    def prepare(self):
        """Start from the given atoms."""
        from skdict import ICFLDictionary

        problem = self.problem
        self.model = ICFLDictionary(
            problem.n_atoms,
            n_nonzero_coefs=problem.n_nonzero,
            atoms_per_step=problem.atoms_per_step,
            batch_size=problem.n_rows,
            init=self.dictionary,
            fit_intercept=False,
            random_state=0,
        )

    def run(self, n_rows):
        """Learn from the batch."""
        return self.model.partial_fit(self.batch[:n_rows]).history_["loss"][-1]

    def atoms(self):
        """Atoms, one per row."""
        return self.model.components_


class SkdictGram(Contestant):
    """The Gram matrix that a step needs anew."""

    label = "skdict, one Gram matrix"
    algorithm = "gram"

    def setup(self, problem):
        """Load the atoms."""
        self.dictionary = problem.load("dictionary")

    def run(self, n_rows):
        """Multiply the atoms with each other."""
        from skdict.kernels import get_kernels

        get_kernels("cpu").gram_matrix(self.dictionary)


class NumpyGram(SkdictGram):
    """The same as one product that does not know it is symmetric."""

    label = "the product D D^T alone"
    package = "numpy"

    def run(self, n_rows):
        """Multiply the atoms with each other."""
        self.dictionary @ self.dictionary.T


class TorchStep(Step):
    """Base of the torch steps."""

    package = "torch"
    device = "cpu"

    def prepare(self):
        """Make tensors; subclasses build their model."""
        self.torch = limit_torch_threads(self.n_threads)
        self.batch = self.torch.from_numpy(self.batch).to(self.device)
        self.start = self.torch.from_numpy(self.dictionary).to(self.device)
        self.build()

    def descend(self, loss, decoder):
        """Backward, Adam, and atoms of unit length as in skdict."""
        torch = self.torch
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            along = (decoder.grad * decoder).sum(1, keepdim=True)
            decoder.grad -= along * decoder
            self.optimizer.step()
            decoder /= decoder.norm(dim=1, keepdim=True)
        return loss.item()

    def atoms(self):
        """Atoms, one per row."""
        return self.decoder.detach().cpu().numpy()


class TorchICFLStep(TorchStep):
    """A step as the paper writes it: residual recomputed, gradient of the atoms by autograd."""

    label = "torch, ICFL, residual recomputed"
    algorithm = "icfl step"
    note = "plain torch on the CPU, dense codes, autograd for the atoms"

    def build(self):
        """Set up atoms and optimiser."""
        self.decoder = self.start.clone().requires_grad_()
        self.optimizer = self.torch.optim.Adam([self.decoder], lr=self.learning_rate)

    def run(self, n_rows):
        """Code without gradient, reconstruct with it, take a step."""
        problem, batch = self.problem, self.batch[:n_rows]
        with self.torch.no_grad():
            codes = icfl_codes(
                self.torch, batch, self.decoder, problem.n_nonzero, problem.atoms_per_step
            )
        loss = (batch - codes @ self.decoder).square().sum(1).mean()
        return self.descend(loss, self.decoder)


class SkdictSAEStep(Step):
    """`TopKSAE.partial_fit` on one batch."""

    label = "skdict, TopKSAE"
    algorithm = "sae step"

    def prepare(self):
        """Start from the given atoms, encoder tied."""
        from skdict import TopKSAE

        problem = self.problem
        self.model = TopKSAE(
            problem.n_atoms,
            n_nonzero_coefs=problem.n_nonzero,
            batch_size=problem.n_rows,
            max_steps=0,
            random_state=0,
        ).fit(self.batch)
        self.model.components_ = self.dictionary.copy()
        self.model.encoder_ = self.dictionary.copy()
        self.model.encoder_bias_ = np.zeros(problem.n_atoms, np.float32)
        self.model.intercept_ = np.zeros(problem.n_features, np.float32)

    def run(self, n_rows):
        """Learn from the batch."""
        return self.model.partial_fit(self.batch[:n_rows]).history_["loss"][-1]

    def atoms(self):
        """Atoms, one per row."""
        return self.model.components_


class TorchSAEStep(TorchStep):
    """A straightforward TopK autoencoder: dense codes, autograd, Adam."""

    label = "torch, TopK autoencoder"
    algorithm = "sae step"
    note = "dense codes, autograd, Adam"

    def build(self):
        """Set up weights and optimiser."""
        torch, problem = self.torch, self.problem
        self.decoder = self.start.clone().requires_grad_()
        self.encoder = self.start.clone().requires_grad_()
        self.bias = torch.zeros(problem.n_atoms, requires_grad=True)
        self.intercept = torch.zeros(problem.n_features, requires_grad=True)
        weights = [self.decoder, self.encoder, self.bias, self.intercept]
        self.optimizer = torch.optim.Adam(weights, lr=self.learning_rate)

    def run(self, n_rows):
        """Encode, decode, take a step."""
        torch, batch = self.torch, self.batch[:n_rows]
        scores = (batch - self.intercept) @ self.encoder.T + self.bias
        values, chosen = torch.topk(scores, self.problem.n_nonzero, dim=1)
        codes = torch.zeros_like(scores).scatter(1, chosen, torch.relu(values))
        loss = (batch - self.intercept - codes @ self.decoder).square().sum(1).mean()
        return self.descend(loss, self.decoder)


class SAELensStep(TorchStep):
    """A step of SAELens's own trainer."""

    label = "SAELens, TopKTrainingSAE"
    package = "sae-lens"
    algorithm = "sae loss"
    note = "SAETrainer.step with its defaults; atoms are not kept at unit length"

    def build(self):
        """Set up its model with the given atoms, and its trainer."""
        from sae_lens.config import SAETrainerConfig
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.training.sae_trainer import SAETrainer

        problem = self.problem
        model = TopKTrainingSAE(
            TopKTrainingSAEConfig(
                d_in=problem.n_features,
                d_sae=problem.n_atoms,
                k=problem.n_nonzero,
                device=self.device,
            )
        )
        with self.torch.no_grad():
            model.W_dec.copy_(self.start)
            model.W_enc.copy_(self.start.T)
        config = SAETrainerConfig(
            total_training_samples=1000 * problem.n_rows,
            train_batch_size_samples=problem.n_rows,
            lr=float(self.learning_rate),
            lr_end=float(self.learning_rate),
            device=self.device,
        )
        self.decoder = model.W_dec
        self.trainer = SAETrainer(config, model, data_provider=iter(()))

    def advance(self, n_rows):
        """Take a step without waiting for its loss, a tensor."""
        output = self.trainer.step(self.batch[:n_rows])
        self.trainer.n_training_steps += 1
        return output.losses["mse_loss"]

    def run(self, n_rows):
        """Take a step."""
        return self.advance(n_rows).item()


class DictionaryLearningStep(TorchStep):
    """A step of dictionary_learning's own trainer."""

    label = "dictionary_learning, TopKTrainer"
    package = "dictionary-learning"
    algorithm = "sae loss"
    note = "TopKTrainer.update with its defaults, which waits for the loss of every step"

    def build(self):
        """Set up its trainer with the given atoms, encoder tied."""
        trainers = import_without_package("dictionary_learning", "trainers.top_k")
        problem = self.problem
        self.trainer = trainers.TopKTrainer(
            steps=1_000_000,
            activation_dim=problem.n_features,
            dict_size=problem.n_atoms,
            k=problem.n_nonzero,
            layer=0,
            lm_name="",
            lr=float(self.learning_rate),
            device=self.device,
        )
        with self.torch.no_grad():
            self.trainer.ae.decoder.weight.copy_(self.start.T)
            self.trainer.ae.encoder.weight.copy_(self.start)

    def run(self, n_rows):
        """Take a step; step 0 would set the intercept."""
        return self.trainer.update(1, self.batch[:n_rows])

    advance = run

    def atoms(self):
        """Atoms, one per row."""
        return self.trainer.ae.decoder.weight.detach().T.cpu().numpy()


class OvercompleteStep(TorchStep):
    """A step of overcomplete's autoencoder, in the order of its training loop."""

    label = "overcomplete, TopKSAE"
    package = "overcomplete"
    algorithm = "other sae step"
    note = "its encoder adds batch normalisation, so that its loss is not comparable"

    def build(self):
        """Set up its model and Adam."""
        sae = import_without_package("overcomplete", "sae")
        problem = self.problem
        self.torch.manual_seed(0)
        self.model = sae.TopKSAE(problem.n_features, problem.n_atoms, top_k=problem.n_nonzero)
        self.model.train()
        self.optimizer = self.torch.optim.Adam(
            self.model.parameters(), lr=float(self.learning_rate)
        )

    def run(self, n_rows):
        """Take a step, as its ``train_sae`` does it."""
        batch = self.batch[:n_rows]
        self.optimizer.zero_grad()
        _, _, reconstruction = self.model(batch)
        loss = (batch - reconstruction).square().sum(1).mean()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def atoms(self):
        """Its dictionary starts elsewhere: nothing to compare."""
        return None


def import_without_package(package, module):
    """Import a module of a package whose ``__init__`` loads much else beside it.

    overcomplete imports timm and torchvision, dictionary_learning imports language models, which
    autoencoders do not need.
    """
    import sys
    import types
    from importlib import import_module
    from importlib.util import find_spec

    if package not in sys.modules:
        empty = types.ModuleType(package)
        empty.__path__ = list(find_spec(package).submodule_search_locations)
        sys.modules[package] = empty
    return import_module(f"{package}.{module}")
