"""One training step."""

from skdict import ICFLDictionary, TopKSAE

from .arrays import SIZES, unit_rows


class _Step:
    """A step on one batch, after one that starts the dictionary."""

    params = (SIZES,)
    param_names = ("size",)
    batch_size = 4096

    def setup(self, size):
        """Take the first step."""
        n_features, n_atoms, n_nonzero = size
        self.batch = unit_rows(self.batch_size, n_features, 0)
        self.model = self.dictionary(
            n_atoms, n_nonzero_coefs=n_nonzero, batch_size=self.batch_size, random_state=0
        )
        self.model.partial_fit(self.batch)

    def time_step(self, size):
        """Seconds."""
        self.model.partial_fit(self.batch)

    def peakmem_step(self, size):
        """Memory of the whole process."""
        self.model.partial_fit(self.batch)

    def track_loss(self, size):
        """Mean squared distance to the reconstruction before the third step."""
        return float(
            self.model.partial_fit(self.batch).partial_fit(self.batch).history_["loss"][-1]
        )

    track_loss.unit = "squared distance"


class ICFLStep(_Step):
    """A step of iterative codebook feature learning."""

    dictionary = ICFLDictionary


class TopKSAEStep(_Step):
    """A step of the TopK sparse autoencoder."""

    dictionary = TopKSAE
