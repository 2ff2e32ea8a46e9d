"""A script for torchrun: a fit, then the same with checkpoints, in which a process is killed."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from skdict import Checkpoint, ICFLDictionary
from skdict.datasets import make_superposition
from skdict.parallel import data_parallel

# Process that is killed in a fit, and after how many steps; benchmarks/data_parallel.py kills more.
KILLS = ((0, 37),)


def dictionary():
    return ICFLDictionary(
        48, n_nonzero_coefs=3, batch_size=120, max_steps=60, random_state=0, reset_every=10,
        reset_threshold=0.5,
    )  # fmt: skip


def data():
    return make_superposition(
        n_samples=1200, n_features=16, n_components=40, n_active=3, random_state=0
    ).data.astype(np.float64)


def killed_after(model, n_steps):
    """Let this process die after so many steps."""
    learn = model._learn_batch

    def learn_or_die(batch, state, rate):
        if state.n_steps == n_steps:
            os.kill(os.getpid(), signal.SIGKILL)
        learn(batch, state, rate)

    model._learn_batch = learn_or_die


def main(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # time to write down what happened
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    with data_parallel() as ranks:
        if attempt == 0:
            model = dictionary().fit(data())
            np.save(folder / f"undisturbed {ranks.rank}.npy", model.components_)
        for number, (killed, n_steps) in enumerate(KILLS):
            if attempt > number + 1:
                continue  # done before the last restart
            model = dictionary().set_params(
                checkpoint=Checkpoint(folder / f"fits {number}", steps=5), resume="auto"
            )
            if ranks.rank == killed and attempt == number:
                killed_after(model, n_steps)
            try:
                model.fit(data())
            except ConnectionError as error:
                (folder / f"lost {number}.txt").write_text(str(error))
                raise
            np.save(folder / f"restarted {number} {ranks.rank}.npy", model.components_)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
