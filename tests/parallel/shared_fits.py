"""A script for torchrun: a fit, then the same with checkpoints, in which one process is killed."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from skdict import Checkpoint, ICFLDictionary
from skdict.datasets import make_superposition
from skdict.parallel import data_parallel

# The steps after which a process is killed, once.
KILLED_AFTER = 23


def dictionary():
    return ICFLDictionary(
        48, n_nonzero_coefs=3, batch_size=120, max_steps=60, random_state=0, reset_every=10,
        reset_threshold=0.5,
    )  # fmt: skip


def data():
    return make_superposition(
        n_samples=1200, n_features=16, n_components=40, n_active=3, random_state=0
    ).data.astype(np.float64)


class Kills:
    """Wrap the step of a dictionary: the last process dies after some of them."""

    def __init__(self, model, ranks, killed_after):
        self.learn, self.ranks, self.killed_after = model._learn_batch, ranks, killed_after

    def __call__(self, batch, state, rate):
        if state.n_steps == self.killed_after and self.ranks.rank == self.ranks.n_ranks - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        self.learn(batch, state, rate)


def main(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # time to write down what happened
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    with data_parallel() as ranks:
        if not restarted:
            model = dictionary().fit(data())
            np.save(folder / f"undisturbed {ranks.rank}.npy", model.components_)
        model = dictionary().set_params(
            checkpoint=Checkpoint(folder / "fits", steps=5), resume="auto"
        )
        if not restarted:
            model._learn_batch = Kills(model, ranks, KILLED_AFTER)
        try:
            model.fit(data())
        except ConnectionError as error:
            (folder / f"lost {ranks.rank}.txt").write_text(str(error))
            raise
        np.save(folder / f"restarted {ranks.rank}.npy", model.components_)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
