"""Build a concept bundle: all that the explorer shows, computed once and written to a folder."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state

from skdict._validation import check_choice, check_integer
from skdict.explorer._build_codes import ExampleCounts, positive_codes
from skdict.explorer._build_folder import BundleWriter, check_target
from skdict.explorer._build_labels import read_labels
from skdict.explorer._build_map import sample_map
from skdict.explorer._build_parts import finish, write_codes, write_genes, write_selectivity
from skdict.explorer._build_pictures import LONGEST_SIDE, write_heatmaps, write_thumbnails
from skdict.explorer._build_related import nearest_atoms
from skdict.explorer._build_samples import read_metadata, sample_table
from skdict.explorer._build_selectivity import Permutations
from skdict.explorer._build_texts import plain_text, texts
from skdict.explorer._bundle import Bundle, open_bundle
from skdict.explorer._bundle_format import PARTS
from skdict.explorer._bundle_tables import CONCEPT_COLUMNS
from skdict.explorer._folder_beside import folder_beside


def build_bundle(
    path,
    codes,
    *,
    components=None,
    pipeline=None,
    metadata=None,
    label_columns=None,
    units=None,
    strata=None,
    sample_names=None,
    map="pca",
    embeddings=None,
    images=None,
    heatmaps=None,
    attribution=None,
    expression=None,
    enrichment=None,
    expression_enrichment=None,
    stability=None,
    names=None,
    title: str = "",
    description: str = "",
    n_top: int = 16,
    n_random: int = 16,
    n_quantiles: int = 4,
    n_per_quantile: int = 4,
    n_bins: int = 30,
    n_neighbors: int = 10,
    n_genes: int = 30,
    n_pathways: int = 10,
    n_permutations: int = 0,
    picture_samples: str = "examples",
    picture_size: int = 128,
    random_state=None,
    overwrite: bool = False,
) -> Bundle:
    r"""Compute all that the explorer shows of a dictionary, and write it to a folder.

    A concept is active in a sample where its code is above 0; negative codes, which a pursuit can
    have, are counted in the settings and left out.

    Parameters
    ----------
    path : str or Path
        Folder to write. It must not exist, or be a bundle with ``overwrite=True``.
    codes : array-like or sparse, shape (n_samples, n_concepts)
        Codes, as returned by ``transform`` of a dictionary. Sparse codes are never made dense.
    components : array-like, shape (n_concepts, n_features), or None, default=None
        Atoms, ``components_``, for concepts of similar direction.
    pipeline : estimator or None, default=None
        A fitted dictionary, or a pipeline with one: the source of `components` where they are
        None. Its text is kept in the settings.
    metadata : DataFrame, mapping of array-like, or None, default=None
        A table with one row per sample. No column may be called ``sample`` or ``name``.
    label_columns : sequence of str or None, default=None
        Columns of `metadata` whose labels are scored. A sample without a label is left out of the
        scores of that column. None takes columns of texts, categories and booleans with two to
        1,000 labels, each of two samples on average.
    units, strata : array-like, shape (n_samples,), or None, default=None
        Independent unit and stratum of each sample, for the permutations of
        :func:`skdict.metrics.selectivity_test`.
    sample_names : sequence of str or None, default=None
        Names of the samples; None takes the index of `metadata`.
    map : {"pca", "umap"}, array-like of shape (n_samples, 2), or None, default="pca"
        Places of the samples on a map: given ones, the first two principal components of the
        embeddings (of the codes without them), or UMAP of the embeddings with its own defaults
        (extra ``umap``). None makes no map.
    embeddings : array-like, shape (n_samples, n_features), or None, default=None
        Embeddings, for the map only.
    images : callable, sequence or None, default=None
        ``images(sample)`` or ``images[sample]``: uint8 array of shape (height, width), (height,
        width, 3) or (height, width, 4), or None for a sample without one.
    heatmaps : callable or None, default=None
        ``heatmaps(concept, sample)``: activations of shape (height, width), such as
        those of the tokens, or None. Asked for the active examples of each concept.
    attribution : skdict.genes.GeneAttribution or None, default=None
        Genes that drive the concepts.
    expression : skdict.genes.DifferentialExpression or None, default=None
        Genes that go along with them.
    enrichment, expression_enrichment : OverRepresentation, PrerankedEnrichment or None
        Gene sets found by attribution, and by expression.
    stability : array-like, shape (n_concepts,), or None, default=None
        How well each atom is found again, from :func:`skdict.metrics.dictionary_stability`, say.
    names : sequence of str, mapping from concepts to str, or None, default=None
        Names of concepts that have one.
    title, description : str, default=""
        What the bundle is, in plain text.
    n_top, n_random, n_quantiles, n_per_quantile : int, default=16, 16, 4, 4
        Examples per concept: with the largest codes; drawn from the active samples, and as many
        from the others; drawn from each of `n_quantiles` bands of equally many active samples.
    n_bins : int, default=30
        Bins of the histogram of codes.
    n_neighbors : int, default=10
        Similar and co-active concepts kept for each.
    n_genes, n_pathways : int, default=30, 10
        Genes kept per concept by absolute attribution, by that of the pre-activation and by fold
        change; and gene sets kept per concept and way.
    n_permutations : int, default=0
        Permutations behind the p-values of the selectivities; 0 computes none.
    picture_samples : {"examples", "all"}, default="examples"
        Samples whose images are kept: those that some concept shows, or all of them.
    picture_size : int, default=128
        Longest side of a thumbnail, in pixels.
    random_state : int, RandomState instance or None, default=None
        Seed of random examples, permutations and map.
    overwrite : bool, default=False
        Replace a bundle that is at `path`. Anything else there is never replaced.

    Returns
    -------
    Bundle
        The bundle, opened.

    Raises
    ------
    FileExistsError
        If something is at `path` that may not be replaced.
    ImportError
        If pandas or pyarrow, or with images or heatmaps Pillow, is not installed.
    TypeError, ValueError
        If shapes do not fit, a code is NaN or infinite, or a parameter is out of range.

    See Also
    --------
    open_bundle : Opens it again.

    Notes
    -----
    The folder is written beside `path` and moved there when it is whole: a failure leaves nothing
    there, and leaves a bundle that was there as it was.

    ``selectivity`` is the largest score over the labels of all label columns, the best of many
    and hence optimistic. Its p-value is the family-wise one of
    :func:`skdict.metrics.selectivity_test` over the labels and concepts of its column, times the
    number of columns with at least two labels.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from skdict.explorer import build_bundle
    >>> codes = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.2]])
    >>> with TemporaryDirectory() as folder:
    ...     bundle = build_bundle(
    ...         f"{folder}/bundle", codes, components=np.eye(2), random_state=0,
    ...         metadata={"cell": ["T", "T", "B", "T"]})
    ...     bundle.selectivity(0, "cell")
      label  selectivity  n_samples  share_active
    0     T          1.0          3           1.0
    1     B         -1.0          1           0.0
    """
    counts = {
        "n_top": n_top, "n_random": n_random, "n_quantiles": n_quantiles,
        "n_per_quantile": n_per_quantile, "n_bins": n_bins, "n_neighbors": n_neighbors,
        "n_genes": n_genes, "n_pathways": n_pathways, "picture_size": picture_size,
    }  # fmt: skip
    for name, value in counts.items():
        check_integer(name, value, 1)
    if picture_size > LONGEST_SIDE:
        raise ValueError(f"picture_size must be at most {LONGEST_SIDE}, got {picture_size}")
    check_integer("n_permutations", n_permutations, 0)
    check_choice("picture_samples", picture_samples, ("examples", "all"))
    path = check_target(path, overwrite)
    rng = check_random_state(random_state)
    found = positive_codes(codes)
    n_samples, n_concepts = found.by_sample.shape
    # What can be wrong is looked at before what takes long.
    frame = read_metadata(metadata, n_samples)
    labels = read_labels(frame, label_columns)
    samples = sample_table(frame, labels, sample_names)
    test = Permutations(
        n_permutations, _per_sample("units", units, n_samples),
        _per_sample("strata", strata, n_samples), rng,
    )  # fmt: skip
    table: dict = {"stability": _stability(stability, n_concepts)}
    table["name"] = texts("names", names, n_concepts, "concepts")
    components, pipeline_text = _atoms(components, pipeline)
    parts = dict.fromkeys(PARTS, False)
    settings = counts | {"n_permutations": n_permutations, "picture_samples": picture_samples}
    settings |= {"n_negative_codes": found.n_negative, "pipeline": pipeline_text}
    with folder_beside(path, lambda: check_target(path, overwrite)) as folder:
        writer = BundleWriter(folder)
        writer.table("samples.parquet", samples)
        if components is not None:
            index, cosine = nearest_atoms(components, n_concepts, n_neighbors)
            writer.array("neighbors_index.npy", index, np.int32)
            writer.array("neighbors_cosine.npy", cosine, np.float32)
            parts["neighbors"] = True
        places = sample_map(map, found.by_sample, embeddings, rng)
        if places is not None:
            writer.array("map.npy", places, np.float32)
            parts["map"] = True
        table |= write_genes(
            writer, parts, (attribution, expression), (enrichment, expression_enrichment),
            n_concepts, counts,
        )  # fmt: skip
        wanted = ExampleCounts(n_top, n_random, n_quantiles, n_per_quantile)
        examples = write_codes(writer, table, found, wanted, counts, rng)
        write_selectivity(writer, table, found, labels, test)
        writer.columns("concepts.parquet", table, CONCEPT_COLUMNS)
        if images is not None:
            chosen = range(n_samples) if picture_samples == "all" else _shown(examples)
            written = write_thumbnails(folder, images, chosen, n_samples, picture_size)
            parts["thumbnails"] = written > 0
        if heatmaps is not None:
            parts["heatmaps"] = write_heatmaps(folder, heatmaps, examples) > 0
        manifest = {
            "n_samples": n_samples, "n_concepts": n_concepts, "label_columns": list(labels),
            "parts": parts, "settings": settings, "title": plain_text(title),
            "description": plain_text(description),
        }  # fmt: skip
        finish(folder, manifest)
    return open_bundle(path)


def _shown(examples: dict) -> np.ndarray:
    """Samples that some concept shows."""
    shown = np.unique(np.concatenate([places.ravel() for places in examples.values()]))
    return shown[shown >= 0]


def _atoms(components, pipeline) -> tuple:
    """Atoms, given or of the last step of a pipeline that has some, and text of the pipeline."""
    if pipeline is None:
        return components, ""
    steps = [step for _, step in getattr(pipeline, "steps", [("", pipeline)])]
    atoms = [step.components_ for step in steps if hasattr(step, "components_")]
    if components is None and not atoms:
        raise ValueError(
            "pipeline must be fitted and hold a dictionary with components_, or components be "
            f"given, got {pipeline!r:.200}"
        )
    return atoms[-1] if components is None else components, plain_text(repr(pipeline))[:10_000]


def _stability(stability, n_concepts: int) -> np.ndarray:
    """Stability of each concept; NaN where it is not known."""
    if stability is None:
        return np.full(n_concepts, np.nan)
    values = np.asarray(stability, dtype=np.float64)
    if values.shape != (n_concepts,):
        raise ValueError(
            f"stability must have shape ({n_concepts},), one number per concept, got {values.shape}"
        )
    return values


def _per_sample(name: str, values, n_samples: int):
    """Column of one value per sample, or None."""
    if values is not None and np.shape(values)[:1] != (n_samples,):
        raise ValueError(
            f"{name} must have one entry per row of codes, {n_samples}, got shape "
            f"{np.shape(values)}"
        )
    return values
