"""What a training step changes: parameters with their optimisers, usage of atoms, curves.

All of it lives in arrays of a backend, on its device.
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from skdict._ranks import OneProcess
from skdict.kernels import get_kernels

# An atom is dead when fewer than this share of the samples of the window use it (Table 1).
DEAD_FRACTION = 1e-5
# Parts of the window over which usage is counted: the oldest part is forgotten as a whole.
WINDOW_PARTS = 10
# Losses that are kept on a device before the host looks at them, at the latest.
KEPT_LOSSES = 1024


class OnDevice:
    """Holds arrays on a device; they move together, and pickle as NumPy arrays.

    Parameters
    ----------
    device : str, default="cpu"
        Where the arrays given to `put` live.
    """

    def __init__(self, device="cpu"):
        self.device = device
        self._put = set()

    @property
    def kernels(self):
        """The backend of the device."""
        return get_kernels(self.device)

    def put(self, **arrays):
        """Set attributes to NumPy arrays, brought to the device (on the CPU: as they are)."""
        for name, array in arrays.items():
            setattr(self, name, self.kernels.to_device(array, self.device))
        self._put.update(arrays)

    def move(self, device):
        """Bring all arrays to another device, those of attributes of this kind too."""
        host = {name: self.kernels.to_host(getattr(self, name)) for name in self._put}
        self.device = device
        self.put(**host)
        for part in vars(self).values():
            if isinstance(part, OnDevice):
                part.move(device)

    def __getstate__(self):
        host = {name: self.kernels.to_host(getattr(self, name)) for name in self._put}
        return {**vars(self), **host, "device": "cpu"}

    # What belongs to a run and is made anew when a fit is resumed.
    _not_saved: tuple[str, ...] = ("device", "dtype", "_put")

    def saved(self):
        """NumPy arrays and plain values of the state, those of attributes of this kind too.

        Returns
        -------
        arrays, values : dict
            By name; those of a part have its name and a point before.
        """
        put = self._put.difference(self._not_saved)
        arrays = {name: np.array(self.kernels.to_host(getattr(self, name))) for name in put}
        values = {}
        for name, value in vars(self).items():
            if name in self._put or name in self._not_saved:
                continue
            if isinstance(value, OnDevice):
                for own, theirs in zip((arrays, values), value.saved(), strict=True):
                    own.update({f"{name}.{key}": entry for key, entry in theirs.items()})
            elif isinstance(value, np.ndarray):
                arrays[name] = value.copy()
            else:
                values[name] = value
        return arrays, values

    def restore(self, arrays, values):
        """Take over what `saved` gave for a state that was begun in the same way.

        Raises
        ------
        ValueError
            If an array is missing or has another shape or type.
        """
        for name, value in vars(self).copy().items():
            if name in self._not_saved:
                continue
            if isinstance(value, OnDevice):
                start = f"{name}."
                value.restore(*(
                    {key[len(start):]: v for key, v in those.items() if key.startswith(start)}
                    for those in (arrays, values)
                ))  # fmt: skip
            elif name in self._put:
                self.put(**{name: _matching(name, arrays, self.kernels.to_host(value))})
            elif isinstance(value, np.ndarray):
                setattr(self, name, _matching(name, arrays, value))
            else:
                setattr(self, name, _alike(name, values, value))


def _alike(name, values, like):
    """Saved value of a name, of the kind of the one that is there."""
    if name not in values:
        raise ValueError(f"the saved state lacks {name!r}")
    value = values[name]
    kinds = [
        "number" if isinstance(v, Real) and not isinstance(v, bool) else type(v).__name__
        for v in (value, like)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(f"the saved state holds for {name!r} a {kinds[0]}, not a {kinds[1]}")
    return value


def _matching(name, arrays, like):
    """Saved array of a name; its first axis may differ only where arrays grow and shrink."""
    array = arrays.get(name)
    if array is None or array.dtype != like.dtype or array.shape[1:] != like.shape[1:]:
        found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise ValueError(
            f"the saved state holds for {name!r} {found} where {like.dtype} of shape {like.shape} "
            "belongs"
        )
    return np.array(array)


class Adam(OnDevice):
    """A matrix and its Adam state, one step counter per row so that rows can be reset."""

    def __init__(self, parameters, device="cpu"):
        super().__init__(device)
        self.dtype = parameters.dtype
        self.put(
            parameters=parameters,
            _first=np.zeros_like(parameters),
            _second=np.zeros_like(parameters),
            _steps=np.zeros(parameters.shape[0], np.int64),
        )

    def step(self, gradient, learning_rate, *, unit_norm=False):
        """Take one step in place; gradient has the shape of the parameters."""
        self.kernels.adam(
            self.parameters,
            gradient,
            self._first,
            self._second,
            self._steps,
            learning_rate=learning_rate,
            unit_norm=unit_norm,
        )

    def reset(self, rows, values):
        """Replace rows and forget their moments; rows and values are NumPy arrays."""
        rows, values = _for_reset(self, rows, values)
        self.parameters[rows] = values
        self._first[rows] = 0
        self._second[rows] = 0
        self._steps[rows] = 0


class Surrogate(OnDevice):
    """A dictionary that minimises Mairal's surrogate of its loss: block coordinate descent.

    Held are A, the weighted sum of ``Z^T Z / n`` (M, M), and B, that of ``Z^T X / n`` (M, d), over
    the batches so far, with the codes each batch had when it was seen.

    Parameters
    ----------
    parameters : ndarray of shape (n_components, n_features)
        The atoms, changed in place on the CPU.
    weights : ndarray of shape (n_components,) or None, default=None
        Mean squares of codes that speak for the atoms as they are. None means that nothing
        does: the first codes decide.
    device : str, default="cpu"
        Where the arrays live.
    """

    # Atoms with a mean square of their codes below this share of the average are left alone.
    _smallest_weight = 1e-6

    def __init__(self, parameters, weights=None, device="cpu"):
        super().__init__(device)
        n_atoms = parameters.shape[0]
        self.dtype = parameters.dtype
        second_moment = np.zeros((n_atoms, n_atoms), parameters.dtype)
        products = np.zeros_like(parameters)
        if weights is not None:
            np.fill_diagonal(second_moment, weights)
            products += second_moment.diagonal()[:, None] * parameters
        self.put(parameters=parameters, _second_moment=second_moment, _products=products)

    @property
    def weights(self):
        """Mean square of the codes of each atom, a NumPy array."""
        return np.array(self.kernels.to_host(self._second_moment.diagonal()))

    def step(self, codes, columns, samples, *, decay, unit_norm=False):
        """Take in the codes of a batch, then move the atoms that it used, in place."""
        kernels = self.kernels
        kernels.accumulate(
            codes, columns, samples, self._second_moment, self._products, decay=decay
        )
        kernels.coordinate_descent(
            self.parameters,
            self._second_moment,
            self._products,
            atoms=kernels.used_atoms(columns),
            floor=self._smallest_weight * kernels.mean(self._second_moment.diagonal()),
            unit_norm=unit_norm,
        )

    def reset(self, rows, values):
        """Replace rows and forget their codes; what they explained is taken out of B."""
        rows, values = _for_reset(self, rows, values)
        self._products -= self._second_moment[:, rows] @ self.parameters[rows]
        self._products[rows] = 0
        self._second_moment[rows] = 0
        self._second_moment[:, rows] = 0
        self.parameters[rows] = values


def _for_reset(dictionary, rows, values):
    """Rows and values as arrays of the dictionary's device and type."""
    values = values.astype(dictionary.dtype, copy=False)
    return [dictionary.kernels.to_device(array, dictionary.device) for array in (rows, values)]


class UsageWindow(OnDevice):
    """How often each atom was used over the last steps, in parts of a tenth of the window.

    Exact whenever a part is complete; in between, the window lacks what the current part lacks.
    """

    def __init__(self, n_atoms, n_steps, device="cpu"):
        super().__init__(device)
        self._part_steps = max(1, math.ceil(n_steps / WINDOW_PARTS))
        self.put(_counts=np.zeros((WINDOW_PARTS, n_atoms), np.int64))
        self._samples = np.zeros(WINDOW_PARTS, np.int64)
        self._step = 0

    def add(self, counts, n_samples):
        """Add the usage of one step; the counts lie on the device."""
        part = (self._step // self._part_steps) % WINDOW_PARTS
        if self._step % self._part_steps == 0:
            self._counts[part] = 0
            self._samples[part] = 0
        self._counts[part] += counts
        self._samples[part] += n_samples
        self._step += 1

    def counts(self):
        """Uses of each atom within the window, a NumPy array."""
        return self.kernels.to_host(self._counts).sum(axis=0)

    def dead_fraction(self):
        """Share of atoms used by less than a fraction 1e-5 of the samples of the window."""
        return float(np.mean(self.counts() < DEAD_FRACTION * max(1, self._samples.sum())))

    def forget(self, atoms):
        """Start the counts of some atoms afresh."""
        self._counts[:, self.kernels.to_device(atoms, self.device)] = 0


class History(OnDevice):
    """Curves of the training, one point per block of steps.

    Losses stay on the device, where they were computed, until `fetch`.
    """

    def __init__(self, device="cpu"):
        super().__init__(device)
        self.curves = {"step": [], "loss": [], "dead_fraction": [], "n_resets": []}
        self.put(_recent=np.zeros(KEPT_LOSSES))
        self._rates = []  # of the recent steps
        self._losses = []  # of the block, fetched
        self._resets = 0

    @property
    def is_full(self):
        """Whether no further loss can be added before the next `fetch`."""
        return len(self._rates) == KEPT_LOSSES

    def add(self, loss, learning_rate, n_resets=0):
        """Note the loss (a scalar of the backend), the rate and the resets of one step."""
        self._recent[len(self._rates)] = loss
        self._rates.append(learning_rate)
        self._resets += n_resets

    def fetch(self, scale):
        """Losses, in the units of the rows, and rates of the steps since the last call.

        The losses are kept for the mean of the block, times ``scale**2``.
        """
        rates, self._rates = self._rates, []
        losses = np.array(self.kernels.to_host(self._recent[: len(rates)]))
        self._losses.extend(loss * scale**2 for loss in losses.tolist())
        return losses, rates

    def close_block(self, step, dead_fraction):
        """End a block: the mean of the losses fetched since the last one, the resets in it.

        Returns whether there were any.
        """
        if not self._losses:
            return False
        self.curves["step"].append(step)
        self.curves["loss"].append(float(np.mean(self._losses)))
        self.curves["dead_fraction"].append(dead_fraction)
        self.curves["n_resets"].append(self._resets)
        self._losses, self._resets = [], 0
        return True

    def arrays(self):
        """The curves as arrays."""
        return {name: np.asarray(curve) for name, curve in self.curves.items()}


class Sums(OnDevice):
    """What the processes of a fit add up in a step: parts of one buffer, sent as one message.

    With one process the buffer holds the gradients alone and nothing is copied.

    Parameters
    ----------
    ranks : OneProcess
        The processes.
    gradients : dict of str to tuple of int
        Shapes of the arrays that kernels write to; ``sums[name]`` gives them.
    others : dict of str to tuple of int
        Shapes of what `add_up` is given.
    dtype : dtype
        Of the message. Counts are exact in float32 up to 16 million in a batch.
    device : str
        Where it lives.
    """

    def __init__(self, ranks, gradients, others, dtype, device="cpu"):
        super().__init__(device)
        self._ranks = ranks
        self._shapes = gradients if ranks.n_ranks == 1 else {**gradients, **others}
        ends = np.cumsum([math.prod(shape) for shape in self._shapes.values()]).tolist()
        self._places = dict(zip(self._shapes, zip([0, *ends[:-1]], ends)))
        self.put(_buffer=np.zeros(ends[-1], dtype))

    def __getitem__(self, name):
        start, end = self._places[name]
        return self._buffer[start:end].reshape(self._shapes[name])

    def add_up(self, **others):
        """Add up the gradients and what is given here, over all processes.

        Parameters
        ----------
        **others : array or scalar
            By the names of the constructor; arrays are overwritten by their sums.

        Returns
        -------
        list
            The sums of `others`.
        """
        if self._ranks.n_ranks == 1:
            return list(others.values())
        for name, value in others.items():
            self[name][...] = value
        self._ranks.add_up(self._buffer)
        sums = []
        for name, value in others.items():
            if self._shapes[name]:
                value[...] = self[name]
            sums.append(value if self._shapes[name] else self[name])
        return sums


class TrainingState(OnDevice):
    """Everything that a training step changes. Data are divided by `scale` on the way in."""

    # The generator is saved apart, a recorded step recorded again, a gradient computed anew.
    _not_saved = (
        *OnDevice._not_saved, "rng", "step", "remaining_steps", "ranks", "sums"
    )  # fmt: skip

    def __init__(self, rng, scale, n_atoms, window, device="cpu", ranks=None):
        super().__init__(device)
        self.ranks = OneProcess() if ranks is None else ranks
        self.rng = rng
        self.scale = scale
        self.n_steps = 0
        self.n_passes = 0
        self.lengths = [0, 0]  # rows of a batch and most steps of the fit
        self.usage = UsageWindow(n_atoms, window, device)
        self.history = History(device)
        self.remaining_steps = math.inf
        self.diverged = False
        self.is_new_block = True
        self.step = None  # the step as the backend takes it, while batches are learned

    def saved(self):
        """Arrays and values, with those of the random generator."""
        arrays, values = super().saved()
        _, key, position, has_gauss, gauss = self.rng.get_state()
        arrays["rng.key"] = np.asarray(key)
        values["rng"] = [int(position), int(has_gauss), float(gauss)]
        return arrays, values

    def restore(self, arrays, values):
        """Take over what `saved` gave, the state of the random generator too."""
        super().restore(arrays, values)
        self.rng.set_state(("MT19937", arrays["rng.key"], *values["rng"]))
        self.step = None

    @property
    def waits(self):
        """Whether results are there as soon as a kernel returns; a device works on its own."""
        return self.device == "cpu"
