"""Planted data: rows that are sparse sums of known atoms, with labels and controls if wanted.

Active atoms are drawn one after the other without replacement. Drawing with replacement and
keeping the first `n_active` distinct atoms gives exactly that distribution, and it is the one
idea of this file: every option (labels, co-activation, hierarchy) only inserts atoms into the
sequence of draws, so each row still has exactly `n_active` atoms and no row needs a loop.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_choice, check_integer, check_real

_CHUNK = 16_384  # rows drawn at a time: bounds the memory of the sequences


def make_superposition(
    n_samples: int = 10_000,
    n_features: int = 128,
    n_components: int = 1024,
    n_active: int = 8,
    *,
    zipf_exponent: float = 0.0,
    noise: float = 0.02,
    unit_norm: bool = True,
    coefficient: str = "gamma",
    correlation: float = 0.0,
    group_size: int = 4,
    hierarchy: float = 0.0,
    n_labels: int = 0,
    atoms_per_label: int = 1,
    label_effect: float = 0.8,
    control_fraction: float = 0.0,
    mean_offset: float = 0.0,
    background: float = 0.0,
    dtype=np.float32,
    random_state=None,
) -> Bunch:
    r"""Draw rows from the superposition model with known atoms.

    Row i is :math:`x_i = \sum_m z_{im} w_m + e_i`, with unit atoms :math:`w_m` uniform on the
    sphere, exactly `n_active` coefficients :math:`z_{im} > 0`, and Gaussian noise
    (:math:`x \approx W z` of [1]_, eq. 1). With `unit_norm` the row and its coefficients are
    divided by the norm of the row; then the offset and the background, which every row has,
    controls included, are added.

    Parameters
    ----------
    n_samples : int, default=10000
        Number of rows.
    n_features : int, default=128
        Dimension d of the rows.
    n_components : int, default=1024
        Number of atoms M.
    n_active : int, default=8
        Active atoms in every row, exactly.
    zipf_exponent : float, default=0.0
        Atom m is drawn with a probability proportional to ``(m + 1) ** -zipf_exponent``; 0 is
        uniform. How often an atom is active follows the same law as long as no atom is so
        frequent that drawing without replacement matters.
    noise : float, default=0.02
        Norm of the noise relative to the norm of the signal of the row: the noise of row i is
        normal with variance ``noise**2 * |s_i|**2 / n_features`` per feature, so that its
        expected squared norm is ``noise**2 * |s_i|**2``.
    unit_norm : bool, default=True
        Whether rows have norm 1 (before offset and background are added).
    coefficient : {"gamma", "constant"}, default="gamma"
        Law of the coefficients before the norm is divided out: gamma with shape 2 and scale 1
        (mean 2, variance 2), or 1.
    correlation : float, default=0.0
        Probability that an atom, when drawn, brings along each other atom of its group.
    group_size : int, default=4
        Atoms per group if `correlation` > 0. Groups are runs of atoms with near frequencies.
    hierarchy : float, default=0.0
        Share of the atoms that are children. Each has one parent among the atoms that are not
        children, and is active only where its parent is. Parents become more frequent by it.
    n_labels : int, default=0
        Number of labels. Each owns `atoms_per_label` atoms of its own.
    atoms_per_label : int, default=1
        Atoms owned by a label, at most `n_active`.
    label_effect : float, default=0.8
        Probability that a row activates each atom of its label, on top of the chance to draw it
        as any other row does. With `correlation` or `hierarchy`, an atom of a label may lose its
        place to mates and parents when the row is full.
    control_fraction : float, default=0.0
        Share of the rows that are controls: rows without a label, and without any atom that
        belongs to a label.
    mean_offset : float, default=0.0
        Norm of a constant vector added to every row, relative to the root mean square norm of
        the rows.
    background : float, default=0.0
        Norm, relative as above and in expectation, of an anisotropic normal vector added to every
        row: its variance along the k-th of `n_features` random directions falls as 1 / k**2, so
        that whitening on controls matters.
    dtype : {np.float32, np.float64}, default=np.float32
        Type of the rows, atoms and codes.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data at every call.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        data : ndarray, shape (n_samples, n_features)
            The rows.
        components : ndarray, shape (n_components, n_features)
            The true atoms, unit norm, as rows.
        codes : scipy.sparse.csr_array, shape (n_samples, n_components)
            True coefficients; ``codes @ components + mean`` is the data up to noise and
            background.
        target : ndarray of int, shape (n_samples,)
            Label of the row, -1 for controls; 0 everywhere else if there are no labels.
        control : ndarray of bool, shape (n_samples,)
            True for the controls.
        mean : ndarray, shape (n_features,)
            The offset.
        frequencies : ndarray of float64, shape (n_components,)
            Probability of each atom at the first draw, before the options.
        label_atoms : ndarray of int, shape (n_labels, atoms_per_label)
            Atoms that belong to each label.
        parents : ndarray of int, shape (n_components,)
            Parent of each atom, -1 where it has none.
        groups : ndarray of int, shape (n_components,)
            Group of each atom; groups of one if `correlation` is 0.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or the atoms do not suffice for the options.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning: Extracting
       biological concepts from microscopy foundation models", ICML 2025, section 2 (eq. 1).

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.datasets import make_superposition
    >>> planted = make_superposition(100, 16, 64, 4, noise=0.0, random_state=0)
    >>> planted.codes.nnz
    400
    >>> bool(np.allclose(planted.codes @ planted.components, planted.data, atol=1e-6))
    True
    """
    _check_parameters(locals())
    rng = np.random.default_rng(check_random_state(random_state).randint(2**32, size=4, dtype="u4"))
    dtype = np.dtype(dtype)

    components = rng.standard_normal((n_components, n_features))
    components /= np.linalg.norm(components, axis=1, keepdims=True)
    frequencies = np.arange(1, n_components + 1, dtype=float) ** -float(zipf_exponent)
    frequencies /= frequencies.sum()
    groups, parents = _structure(n_components, correlation, group_size, hierarchy, rng)
    label_atoms = rng.permutation(n_components)[: n_labels * atoms_per_label]
    label_atoms = label_atoms.reshape(n_labels, atoms_per_label)
    target = _draw_target(n_samples, n_labels, control_fraction, rng)

    model = _Draws(frequencies, groups, parents, label_atoms, correlation, label_effect, n_active)
    model.check_controls(bool((target < 0).any()))
    active = np.concatenate(
        [model.draw(target[i : i + _CHUNK], rng) for i in range(0, n_samples, _CHUNK)]
    )
    values = np.ones(active.shape)
    if coefficient == "gamma":
        values = rng.standard_gamma(2.0, size=active.shape)
    codes, data = _compose(active, values, components, noise, unit_norm, dtype, rng)
    mean = _add_background(data, mean_offset, background, rng)
    return Bunch(
        data=data,
        components=components.astype(dtype),
        codes=codes,
        target=target,
        control=target < 0,
        mean=mean,
        frequencies=frequencies,
        label_atoms=label_atoms,
        parents=parents,
        groups=groups,
    )


def _check_parameters(given: dict) -> None:
    """Check every parameter of `make_superposition`, by name."""
    for name in ("n_samples", "n_features", "n_components", "n_active", "atoms_per_label"):
        check_integer(name, given[name], 1)
    check_integer("group_size", given["group_size"], 2)
    check_integer("n_labels", given["n_labels"], 0)
    for name in ("noise", "mean_offset", "background"):
        check_real(name, given[name], 0, 1e6)
    check_real("zipf_exponent", given["zipf_exponent"], 0, 10)
    for name in ("correlation", "label_effect"):
        check_real(name, given[name], 0, 1)
    for name in ("hierarchy", "control_fraction"):
        check_real(name, given[name], 0, 1)
        if given[name] == 1:
            raise ValueError(f"{name} must be below 1, got {given[name]!r}")
    check_choice("coefficient", given["coefficient"], ("gamma", "constant"))
    if np.dtype(given["dtype"]) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be np.float32 or np.float64, got {given['dtype']!r}")
    n_active, n_components = given["n_active"], given["n_components"]
    if n_active > n_components:
        raise ValueError(f"n_active={n_active} must not exceed n_components={n_components}")
    if given["n_labels"] and given["atoms_per_label"] > n_active:
        raise ValueError(
            f"atoms_per_label={given['atoms_per_label']} must not exceed n_active={n_active}"
        )
    owned = given["n_labels"] * given["atoms_per_label"]
    if owned > n_components:
        raise ValueError(
            f"n_labels * atoms_per_label = {owned} must not exceed n_components={n_components}: "
            "every label has atoms of its own"
        )


def _structure(n_components, correlation, group_size, hierarchy, rng):
    """Return the group and the parent (or -1) of each atom."""
    groups = np.arange(n_components)
    if correlation:
        groups //= group_size
    parents = np.full(n_components, -1)
    n_children = int(hierarchy * n_components)
    if n_children:
        order = rng.permutation(n_components)
        children, others = order[:n_children], order[n_children:]
        parents[children] = rng.choice(others, size=n_children)
    return groups, parents


def _draw_target(n_samples, n_labels, control_fraction, rng) -> np.ndarray:
    """Return balanced labels in random order, -1 for the controls."""
    n_control = round(control_fraction * n_samples)
    target = np.arange(n_samples) % max(1, n_labels)
    target[:n_control] = -1
    return rng.permutation(target)


class _Draws:
    """The law of the active atoms of a row given its label."""

    def __init__(
        self, frequencies, groups, parents, label_atoms, correlation, label_effect, n_active
    ):
        self.frequencies = frequencies
        self.parents = parents
        self.label_atoms = label_atoms
        self.correlation = correlation
        self.label_effect = label_effect
        self.n_active = n_active
        # mates[m]: the atoms of m's group, padded with -1, without m itself
        width = np.bincount(groups).max()
        members = np.full((groups.max() + 1, width), -1)
        members[groups, np.arange(len(groups)) - np.searchsorted(groups, groups)] = np.arange(
            len(groups)
        )
        self.mates = members[groups]
        self.mates[self.mates == np.arange(len(groups))[:, None]] = -1
        owned = np.zeros(len(frequencies) + 1, dtype=bool)  # one more: parent -1 is never owned
        owned[label_atoms.ravel()] = True
        self.barred = owned[:-1] | owned[parents]
        self.cdf_all = np.cumsum(frequencies)
        self.cdf_control = np.cumsum(np.where(self.barred, 0.0, frequencies))

    def check_controls(self, any_control: bool) -> None:
        """Raise if the atoms without a label are too few for a control row."""
        free = int((~self.barred).sum())
        if any_control and free < self.n_active:
            raise ValueError(
                f"control rows need n_active={self.n_active} atoms that belong to no label, but "
                f"only {free} are left; lower n_labels, atoms_per_label or n_active, or raise "
                "n_components"
            )

    def draw(self, target, rng) -> np.ndarray:
        """Return the active atoms, shape (n_rows, n_active), of rows with these labels."""
        control = target < 0
        n_draws = self.n_active + self.n_active // 2 + 2
        drawn = np.empty((len(target), n_draws), dtype=np.int64)
        for rows, cdf in ((~control, self.cdf_all), (control, self.cdf_control)):
            uniform = rng.random((int(rows.sum()), n_draws)) * cdf[-1]
            # rounding must not reach the end of the cdf: behind it lies no atom
            uniform = np.minimum(uniform, np.nextafter(cdf[-1], 0))
            drawn[rows] = np.searchsorted(cdf, uniform, side="right")
        sequence = np.concatenate([self._own_atoms(target, rng), drawn], axis=1)
        sequence = self._expand(sequence, control, rng)
        active, complete = _first_distinct(sequence, self.n_active)
        if not complete.all():
            self._complete(active, sequence, np.flatnonzero(~complete), control, rng)
        return active

    def _own_atoms(self, target, rng) -> np.ndarray:
        """Return each row's atoms of its own label, or -1 where they stay silent."""
        if not self.label_atoms.size:
            return np.empty((len(target), 0), dtype=np.int64)
        own = self.label_atoms[target]  # controls read some row here and are silenced below
        silent = rng.random(own.shape) >= self.label_effect
        return np.where(silent | (target < 0)[:, None], -1, own)

    def _expand(self, sequence, control, rng) -> np.ndarray:
        """Put each atom's parent before it and the mates it brings (with their parents) after."""
        if self.correlation:
            mates = self.mates[sequence]
            brought = rng.random(mates.shape) < self.correlation
            brought &= (sequence >= 0)[:, :, None]
            mates = np.where(brought, mates, -1)
            barred = self.barred[mates] & control[:, None, None]
            mates = np.where(barred, -1, mates)
            sequence = np.concatenate([sequence[:, :, None], mates], axis=2)
            sequence = sequence.reshape(len(control), -1)
        if (self.parents >= 0).any():
            parents = np.where(sequence >= 0, self.parents[sequence], -1)
            sequence = np.stack([parents, sequence], axis=2).reshape(len(control), -1)
        return sequence

    def _complete(self, active, sequence, rows, control, rng) -> None:
        """Append all atoms in random order to the rows whose draws gave too few distinct ones.

        Sorting exponential variables divided by the frequencies orders the atoms exactly as
        drawing them one by one would.
        """
        n_components = len(self.frequencies)
        step = max(1, 2**22 // n_components)  # about 32 MB of random numbers at a time
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            race = rng.standard_exponential((len(part), n_components)) / self.frequencies
            race[control[part, None] & self.barred] = np.inf
            order = np.argsort(race, axis=1)
            order[np.isinf(np.take_along_axis(race, order, axis=1))] = -1
            order = self._expand(order, control[part], rng)
            longer = np.concatenate([sequence[part], order], axis=1)
            active[part] = _first_distinct(longer, self.n_active)[0]


def _first_distinct(sequence, k) -> tuple[np.ndarray, np.ndarray]:
    """Return the first `k` distinct non-negative entries of each row, and which rows have them."""
    order = np.argsort(sequence, axis=1, kind="stable")
    ranked = np.take_along_axis(sequence, order, axis=1)
    fresh = np.ones(sequence.shape, dtype=bool)
    repeated = np.zeros_like(fresh)
    repeated[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    np.put_along_axis(fresh, order, ~repeated & (ranked >= 0), axis=1)
    place = np.cumsum(fresh, axis=1)
    complete = place[:, -1] >= k
    taken = fresh & (place <= k) & complete[:, None]
    first = np.full((len(sequence), k), -1)
    first[complete] = sequence[taken].reshape(-1, k)
    return first, complete


def _compose(active, values, components, noise, unit_norm, dtype, rng):
    """Return the codes and the rows: signal, noise, and unit norm if asked."""
    n_samples = len(active)
    n_components, n_features = components.shape
    order = np.argsort(active, axis=1)  # CSR with sorted indices from the start
    active = np.take_along_axis(active, order, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    data = np.empty((n_samples, n_features), dtype=dtype)
    for start in range(0, n_samples, _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = _csr(active[part], values[part], n_components) @ components
        if noise:
            scale = noise * np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(n_features)
            rows += scale * rng.standard_normal(rows.shape)
        if unit_norm:
            norm = np.linalg.norm(rows, axis=1, keepdims=True)
            norm[norm == 0] = 1.0
            rows /= norm
            values[part] /= norm
        data[part] = rows
    return _csr(active, values.astype(dtype), n_components), data


def _csr(active, values, n_components) -> sparse.csr_array:
    """Return codes with the same number of non-zeros in each row."""
    indptr = np.arange(0, active.size + 1, active.shape[1])
    return sparse.csr_array(
        (values.ravel(), active.ravel(), indptr), shape=(len(active), n_components)
    )


def _add_background(data, mean_offset, background, rng) -> np.ndarray:
    """Add offset and background to the rows in place; return the offset."""
    n_samples, n_features = data.shape
    mean = np.zeros(n_features)
    size = np.sqrt(np.einsum("ij,ij->", data, data, dtype=np.float64) / n_samples)
    if mean_offset:
        mean = rng.standard_normal(n_features)
        mean *= mean_offset * size / np.linalg.norm(mean)
        data += mean.astype(data.dtype)
    if background:
        directions, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))
        spread = 1.0 / np.arange(1, n_features + 1)
        spread *= background * size / np.linalg.norm(spread)
        for start in range(0, n_samples, _CHUNK):
            part = data[start : start + _CHUNK]
            part += ((rng.standard_normal(part.shape) * spread) @ directions).astype(data.dtype)
    return mean.astype(data.dtype)
