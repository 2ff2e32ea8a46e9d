"""Building a bundle: what is computed agrees with plain definitions, and it is all or nothing."""

import io
import os
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse

from skdict.explorer import build_bundle, open_bundle
from skdict.metrics import selectivity_scores, selectivity_test

KINDS = ["top", "random", "quantile", "inactive"]


@pytest.fixture
def codes():
    rng = np.random.default_rng(1)
    dense = rng.gamma(2.0, 1.0, (40, 6)) * (rng.random((40, 6)) < 0.4)
    dense[:, 5] = 0
    return dense


@pytest.fixture
def target(tmp_path):
    return tmp_path / "bundle"


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_concept_table(small_bundle, bundle_inputs):
    codes = np.maximum(bundle_inputs["codes"].toarray(), 0)
    concepts = small_bundle.concepts
    n_active = (codes > 0).sum(axis=0)
    np.testing.assert_array_equal(concepts.n_active, n_active)
    np.testing.assert_allclose(concepts.frequency, n_active / 300)
    np.testing.assert_allclose(concepts.max_activation, codes.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        concepts.mean_activation, codes.sum(axis=0) / np.maximum(n_active, 1), rtol=1e-6
    )
    np.testing.assert_array_equal(concepts.dead, n_active == 0)
    np.testing.assert_array_equal(concepts.stability, bundle_inputs["stability"])
    assert concepts.name.tolist()[:4] == [*bundle_inputs["names"].values(), ""]
    assert small_bundle.manifest["settings"]["n_negative_codes"] > 0


def test_selectivity_is_that_of_the_metrics(small_bundle, bundle_inputs):
    codes = bundle_inputs["codes"]
    donor = np.array(bundle_inputs["metadata"]["donor"])
    known = np.array([value is not None for value in donor])
    for column, rows in (("cell_type", np.ones(300, bool)), ("donor", known)):
        y = np.array(bundle_inputs["metadata"][column])[rows].astype(str)
        wanted = selectivity_scores(codes[rows], y, active="positive")
        assert small_bundle.labels(column) == np.unique(y).tolist()
        np.testing.assert_allclose(small_bundle.selectivity_scores(column), wanted, atol=1e-6)
        best = small_bundle.best_labels(column)
        assert best[23] == -1
        np.testing.assert_array_equal(best[:23], wanted.argmax(axis=0)[:23])


def test_best_label_and_its_p_value(small_bundle, bundle_inputs):
    concepts = small_bundle.concepts
    scores = [small_bundle.selectivity_scores(name).max(axis=0) for name in ("cell_type", "donor")]
    np.testing.assert_allclose(concepts.selectivity[:23], np.max(scores, axis=0)[:23])
    assert concepts.selectivity[23] == 0 and concepts.best_label[23] == ""
    assert np.isnan(concepts.selectivity_p[23])
    assert concepts.best_label.tolist()[:3] == ["B cell", "T cell", "monocyte"]
    test = selectivity_test(
        bundle_inputs["codes"],
        bundle_inputs["metadata"]["cell_type"].astype(str),
        active="positive",
        n_permutations=19,
        random_state=3,
    )
    # Two columns: their smallest p-value is twice 1 / 20, whatever the seed.
    p_value = test.family_wise_p_value[small_bundle.best_labels("cell_type")[0], 0]
    assert concepts.selectivity_p[0] == pytest.approx(2 * p_value) == pytest.approx(0.1)
    assert concepts.selectivity_p[9] > 0.1


def test_labels_without_a_test_have_no_p_value(codes, target):
    bundle = build_bundle(target, codes, metadata={"well": list("ab") * 20})
    assert bundle.concepts.selectivity_p.isna().all()
    assert not bundle.concepts.selectivity.isna().any()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), n_samples=st.integers(1, 30), share=st.floats(0, 1))
def test_examples_are_what_they_say(tmp_path_factory, seed, n_samples, share):
    rng = np.random.default_rng(seed)
    dense = rng.gamma(2.0, 1.0, (n_samples, 3)) * (rng.random((n_samples, 3)) < share)
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    bundle = build_bundle(
        path, dense, n_top=5, n_random=4, n_quantiles=3, n_per_quantile=2, map=None, random_state=0
    )
    for concept, values in enumerate(dense.astype(np.float32).T):
        active = np.flatnonzero(values > 0)
        top, random, bands, inactive = (bundle.examples(concept, kind) for kind in KINDS)
        np.testing.assert_array_equal(values[top], np.sort(values)[::-1][: min(5, active.size)])
        assert set(random) <= set(active) and len(set(random)) == min(4, active.size)
        assert not set(inactive) & set(active)
        assert len(set(inactive)) == min(4, n_samples - active.size)
        shown = bands[bands >= 0]
        assert set(shown) <= set(active) and len(set(shown)) == len(shown)
        assert bands.shape == (3, 2)
        filled = [values[band[band >= 0]] for band in bands if (band >= 0).any()]
        for low, high in zip(filled[:-1], filled[1:]):
            assert low.max() <= high.min()
        counts, edges = bundle.histogram(concept)
        assert counts.sum() == active.size and edges[0] == 0
        assert edges[-1] == (values.max() or 1.0)


def test_random_examples_reach_all_samples(target):
    """Each sample is drawn: active ones from the active half, the others from the other half."""
    dense = (np.arange(40) % 2).astype(float)[:, None]
    drawn = {"random": set(), "inactive": set()}
    for seed in range(40):
        bundle = build_bundle(
            target, dense, n_random=4, map=None, random_state=seed, overwrite=True
        )
        for kind, seen in drawn.items():
            seen |= set(bundle.examples(0, kind).tolist())
    assert drawn == {"random": set(range(1, 40, 2)), "inactive": set(range(0, 40, 2))}


def test_related_concepts(small_bundle, bundle_inputs):
    atoms = bundle_inputs["components"]
    atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    active = bundle_inputs["codes"].toarray() > 0
    both = active.T.astype(float) @ active
    n_active = active.sum(axis=0)
    for concept in (0, 5, 23):
        cosine = atoms @ atoms[concept]
        cosine[concept] = -np.inf
        near = small_bundle.neighbors(concept)
        np.testing.assert_array_equal(near.concept, np.argsort(-cosine)[:10])
        np.testing.assert_allclose(near.cosine, np.sort(cosine)[::-1][:10], atol=1e-6)
        found = small_bundle.coactive(concept)
        union = n_active[concept] + n_active - both[concept]
        jaccard = np.divide(both[concept], union, out=np.zeros(24), where=union > 0)
        jaccard[concept] = 0
        wanted = np.sort(jaccard[jaccard > 0])[::-1][:10]
        np.testing.assert_allclose(found.jaccard, wanted, rtol=1e-6)
        np.testing.assert_allclose(jaccard[found.concept], found.jaccard, rtol=1e-6)
        lift = 300 * both[concept][found.concept] / (n_active[concept] * n_active[found.concept])
        np.testing.assert_allclose(found.lift, lift, rtol=1e-6)
    assert len(small_bundle.coactive(23)) == 0


def test_blocks_do_not_show(bundle_inputs, small_bundle, target, monkeypatch):
    for module in ("_build_related", "_build_selectivity"):
        monkeypatch.setattr(f"skdict.explorer.{module}._BLOCK_VALUES", 100)
    bundle = build_bundle(target, **bundle_inputs)
    pd.testing.assert_frame_equal(bundle.concepts, small_bundle.concepts)
    for concept in range(24):
        pd.testing.assert_frame_equal(bundle.coactive(concept), small_bundle.coactive(concept))
        pd.testing.assert_frame_equal(bundle.neighbors(concept), small_bundle.neighbors(concept))


def test_same_seed_same_files(bundle_inputs, small_bundle, target):
    bundle = build_bundle(target, **bundle_inputs)
    assert bundle.manifest["files"] == small_bundle.manifest["files"]


def test_genes_hold_the_largest_of_each_measure(bundle_inputs, target):
    bundle = build_bundle(
        target, **bundle_inputs | {"n_genes": 3, "images": None, "heatmaps": None}
    )
    attribution, expression = bundle_inputs["attribution"], bundle_inputs["expression"]
    for concept in (0, 7):
        found = bundle.genes(concept).set_index("gene")
        wanted = set()
        sizes = (
            np.abs(attribution.attribution[concept]),
            np.abs(attribution.pre.attribution[concept]),
            expression.log_fold_change[concept],
        )
        for size in sizes:
            wanted |= set(attribution.genes[np.argsort(-size)[:3]])
        assert set(found.index) == wanted
        assert found.attribution.is_monotonic_decreasing
        places = [attribution.genes.tolist().index(gene) for gene in found.index]
        for column, values in (
            ("rank_attribution", attribution.attribution),
            ("rank_expression", expression.log_fold_change),
        ):
            ranks = 1 + np.argsort(np.argsort(-values[concept]))
            np.testing.assert_array_equal(found[column], ranks[places])
        np.testing.assert_allclose(
            found.log_fold_change, expression.log_fold_change[concept, places], rtol=1e-6
        )
    # not attributed: expression alone
    other = bundle.genes(12)
    assert len(other) == 3 and other.attribution.isna().all()
    assert (other.rank_attribution == -1).all() and other.rank_expression.tolist() == [1, 2, 3]
    assert len(bundle.genes(23)) == 0  # dead: no fold change either


def test_pathways(small_bundle, bundle_inputs):
    enrichment = bundle_inputs["enrichment"]
    found = small_bundle.pathways(0)
    assert found.p_value.is_monotonic_increasing
    own = found[found.found_by == "attribution"].set_index("gene_set")
    for row in enrichment.pairs(0.9999, concepts=[0], as_frame=True).itertuples():
        kept = own.loc[row.gene_set]
        assert (kept.p_value, kept.q_value) == (row.p_value, row.q_value)
        assert kept.n_overlap == row.overlap and kept.overlap == row.genes
    first = small_bundle.concepts.iloc[0]
    assert (first.top_pathway, first.top_pathway_q) == (found.gene_set[0], found.q_value[0])
    assert small_bundle.concepts.top_pathway[20] == "" and len(small_bundle.pathways(20)) == 0


def test_preranked_pathways(codes, target):
    from skdict.genes import prerank

    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(60)]
    scores = rng.normal(size=(3, 60))
    scores[1, :12] += 4
    result = prerank(
        scores, {"first": genes[:12], "last": genes[40:]}, genes=genes, concepts=[0, 2, 4],
        min_size=5, n_permutations=100, random_state=0,
    )  # fmt: skip
    bundle = build_bundle(target, codes, expression_enrichment=result)
    found = bundle.pathways(2)
    assert found.gene_set[0] == "first" and (found.found_by == "expression").all()
    assert found.overlap[0] == "; ".join(result.leading_edge[1, 0])
    assert len(bundle.pathways(1)) == 0 and len(bundle.pathways(4)) == 2


def test_pictures(small_bundle, bundle_inputs):
    sample = int(small_bundle.examples(0)[0])
    picture = Image.open(io.BytesIO(small_bundle.thumbnail(sample)))
    assert max(picture.size) == 32 and picture.size[0] < picture.size[1]
    grids = {
        s: np.array(Image.open(io.BytesIO(small_bundle.heatmap(0, s))))
        for s in small_bundle.examples(0).tolist()
    }
    for s, grid in grids.items():
        given = np.maximum(bundle_inputs["heatmaps"](0, s), 0)
        assert grid.shape == (4, 4) and grid.argmax() == given.argmax()
    # one scale per concept: a stronger heatmap is brighter
    ordered = sorted(grids)
    assert grids[ordered[0]].max() < grids[ordered[-1]].max()
    assert small_bundle.heatmap(4, int(small_bundle.examples(4)[0])) is None
    assert small_bundle.thumbnail(299) is None


def test_pictures_of_all_samples(codes, target):
    bundle = build_bundle(
        target, codes, images=[np.zeros((4, 4), np.uint8)] * 40, picture_samples="all"
    )
    assert all(bundle.thumbnail(sample) for sample in range(40))
    assert bundle.manifest["files"]["thumbnails"]["number"] == 40


@pytest.mark.parametrize(
    "make", [np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_array]
)
def test_any_codes(codes, target, make):
    bundle = build_bundle(target, make(codes))
    for concept in range(6):
        samples, values = bundle.activations(concept)
        np.testing.assert_array_equal(samples, np.flatnonzero(codes[:, concept]))
        np.testing.assert_allclose(values, codes[samples, concept], rtol=1e-6)


def test_input_is_not_changed(codes, target):
    codes[:, 0] = -1
    given = sparse.csr_array(codes)
    copy = given.copy()
    build_bundle(target, given, metadata={"a": list("xy") * 20}, n_permutations=5)
    np.testing.assert_array_equal(given.toarray(), copy.toarray())


def test_all_dead(target):
    bundle = build_bundle(
        target, np.zeros((5, 3)), components=np.zeros((3, 2)), metadata={"a": list("xxyyy")}
    )
    assert bundle.concepts.dead.all() and (bundle.concepts.selectivity == 0).all()
    assert not bundle.map.any()
    for concept in range(3):
        assert [bundle.examples(concept, kind).size for kind in ("top", "random")] == [0, 0]
        assert sorted(bundle.examples(concept, "inactive")) == list(range(5))
        assert bundle.histogram(concept)[0].sum() == 0
        assert bundle.activations(concept)[0].size == 0 and len(bundle.coactive(concept)) == 0
        assert (bundle.neighbors(concept).cosine == 0).all()


def test_one_concept_one_sample(target):
    bundle = build_bundle(target, [[2.0]], components=[[1.0, 0.0]])
    assert bundle.examples(0).tolist() == [0] and bundle.examples(0, "inactive").size == 0
    assert len(bundle.neighbors(0)) == 0 and len(bundle.coactive(0)) == 0
    assert open_bundle(target).verify() > 10


def test_one_label_only(codes, target):
    with pytest.warns(UserWarning, match="'plate' holds one label only"):
        bundle = build_bundle(
            target, codes, metadata={"plate": ["p"] * 40}, label_columns=["plate"], n_permutations=5
        )
    assert bundle.concepts.selectivity.isna().all() and (bundle.concepts.best_label == "").all()
    table = bundle.selectivity(0, "plate")
    assert table.label.tolist() == ["p"] and table.n_samples.tolist() == [40]
    assert table.selectivity.isna().all()


def test_columns_found(codes, target):
    metadata = pd.DataFrame(
        {
            "line": pd.Categorical(list("zyx") * 13 + ["z"], categories=list("zyxw")),
            "treated": [True, False] * 20,
            "id": [f"s{i}" for i in range(40)],
            "size": np.arange(40) % 3,
            "when": pd.Timestamp("2026-01-02") + pd.to_timedelta(np.arange(40), unit="D"),
            "list": [[i] for i in range(40)],
            "constant": ["c"] * 40,
        },
        index=[f"row {i}" for i in range(40)],
    )
    bundle = build_bundle(target, codes, metadata=metadata)
    assert bundle.label_columns == ["line", "treated"]
    assert bundle.labels("line") == ["z", "y", "x"]  # in the order of the categories
    assert bundle.labels("treated") == ["False", "True"]
    assert bundle.samples.name[3] == "row 3" and bundle.samples.when[1] == metadata.when.iloc[1]
    assert bundle.samples["list"][2] == "[2]"
    assert bundle.samples.columns.tolist() == ["sample", "name", *metadata.columns]


def test_numbers_as_labels(codes, target):
    given = np.array([10.0, 9.0, np.nan, 2.5] * 10)
    bundle = build_bundle(target, codes, metadata={"dose": given}, label_columns="dose")
    assert bundle.labels("dose") == ["2.5", "9", "10"]
    assert bundle.selectivity(0, "dose").n_samples.tolist() == [10, 10, 10]
    assert bundle.samples.dose.isna().sum() == 10


def test_texts_that_utf8_cannot_hold(codes, target):
    bundle = build_bundle(target, codes, title="a\ud800", names={0: "b\udfff"}, n_top=1)
    assert (bundle.title, bundle.concepts.name[0]) == ("a?", "b?")


def test_map(codes, target):
    places = np.arange(80.0).reshape(40, 2)
    np.testing.assert_array_equal(build_bundle(target, codes, map=places).map, places)
    assert build_bundle(target, codes, map=None, overwrite=True).map is None
    embeddings = np.random.default_rng(0).normal(size=(40, 5)) * [9, 1, 1, 1, 4]
    found = build_bundle(target, codes, embeddings=embeddings, overwrite=True).map
    assert abs(np.corrcoef(found[:, 0], embeddings[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(found[:, 1], embeddings[:, 4])[0, 1]) > 0.9
    assert build_bundle(target, codes, overwrite=True).map.std(axis=0).min() > 0


def test_components_of_a_pipeline(target):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    from skdict import ICFLDictionary

    X = np.random.default_rng(0).normal(size=(60, 8))
    pipeline = make_pipeline(
        Normalizer(), ICFLDictionary(n_components=12, n_nonzero_coefs=2, max_steps=2)
    ).fit(X)
    bundle = build_bundle(target, pipeline.transform(X), pipeline=pipeline)
    given = build_bundle(
        target, pipeline.transform(X), components=pipeline[-1].components_, overwrite=True
    )
    pd.testing.assert_frame_equal(bundle.neighbors(0), given.neighbors(0))
    assert "ICFLDictionary" in bundle.manifest["settings"]["pipeline"]


nan = np.full((40, 6), np.nan)
WRONG = [
    ("codes NaN", {"codes": nan}, "NaN"),
    ("codes of one axis", {"codes": np.ones(4)}, "two-dimensional"),
    ("codes too large", {"codes": np.full((40, 6), 1e300)}, "float32"),
    ("components", {"components": np.ones((5, 3))}, "components must have one row"),
    ("components NaN", {"components": np.full((6, 3), np.nan)}, "components holds NaN"),
    ("metadata column", {"metadata": {"a": [1, 2]}}, r"metadata\['a'\] must have one row"),
    ("metadata frame", {"metadata": pd.DataFrame({"a": [1]})}, "metadata must have one row"),
    ("metadata type", {"metadata": 3}, "metadata must be a data frame"),
    ("metadata sample", {"metadata": {"sample": range(40)}}, "rename the columns"),
    ("label_columns", {"label_columns": ["b"]}, "label_columns must be distinct columns"),
    ("labels twice", {"metadata": {"a": range(40)}, "label_columns": ["a", "a"]}, "distinct"),
    ("no label", {"metadata": {"a": [None] * 40}, "label_columns": ["a"]}, "at least one"),
    ("lists", {"metadata": {"a": [[1]] * 40}, "label_columns": ["a"]}, "something else"),
    ("units", {"units": [1, 2]}, "units must have one entry"),
    ("sample_names", {"sample_names": ["a"]}, "sample_names must hold one text"),
    ("names text", {"names": "abcdef"}, "names must hold one text"),
    ("names key", {"names": {6: "a"}}, "names must have keys from 0 to 5"),
    ("map shape", {"map": np.ones((40, 3))}, "map must be None, 'pca', 'umap' or numbers"),
    ("map NaN", {"map": np.full((40, 2), np.nan)}, "map must be finite"),
    ("map name", {"map": "tsne"}, "map must be one of .pca., .umap."),
    ("embeddings", {"embeddings": np.ones((3, 3))}, "embeddings must have shape"),
    ("stability", {"stability": [1.0]}, "stability must have shape"),
    ("n_top", {"n_top": 0}, "n_top must be an integer >= 1"),
    ("picture_samples", {"picture_samples": "some"}, "picture_samples must be one of"),
    ("images number", {"images": [None]}, "images must hold one picture"),
    ("images type", {"images": lambda sample: np.ones((4, 4))}, "images must be uint8"),
    ("heatmaps", {"heatmaps": lambda concept, sample: np.ones(4)}, "heatmaps must give finite"),
    ("heatmaps NaN", {"heatmaps": lambda concept, sample: nan}, "heatmaps must give finite"),
    ("heatmaps type", {"heatmaps": 3}, "heatmaps must be a function"),
    ("attribution", {"attribution": {}}, "attribution must be a GeneAttribution"),
    ("enrichment", {"enrichment": []}, "enrichment must be a OverRepresentation"),
    ("pipeline", {"pipeline": object()}, "pipeline must be fitted"),
]


@pytest.mark.parametrize("changes, message", [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_input_leaves_nothing(codes, target, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build_bundle(target, **{"codes": codes} | changes)
    assert left_in(target.parent) == []


def test_concepts_that_are_not_there(bundle_inputs, target):
    few = {"codes": bundle_inputs["codes"][:, :4], "attribution": bundle_inputs["attribution"]}
    with pytest.raises(ValueError, match="attribution must be of concepts that are columns"):
        build_bundle(target, **few)


def test_failure_keeps_the_old_bundle(codes, target):
    build_bundle(target, codes, title="old")

    def images(sample):
        raise RuntimeError("the disk of the images is gone")

    with pytest.raises(RuntimeError, match="disk"):
        build_bundle(target, codes, images=images, title="new", overwrite=True)
    assert left_in(target.parent) == ["bundle"]
    bundle = open_bundle(target)
    assert bundle.title == "old" and bundle.verify()


def test_failed_move_keeps_the_old_bundle(codes, target, monkeypatch):
    build_bundle(target, codes, title="old")
    replace = type(target).replace

    def failing(path, other):
        if path.name == "new":
            raise OSError("no")
        return replace(path, other)

    monkeypatch.setattr(type(target), "replace", failing)
    with pytest.raises(OSError, match="no"):
        build_bundle(target, codes, title="new", overwrite=True)
    assert left_in(target.parent) == ["bundle"]
    assert open_bundle(target).title == "old"


def test_existing_folder(codes, target):
    build_bundle(target, codes, title="first")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        build_bundle(target, codes)
    assert build_bundle(target, codes, title="second", overwrite=True).title == "second"
    assert left_in(target.parent) == ["bundle"]


@pytest.mark.parametrize("kind", ["file", "folder", "foreign", "link"])
def test_what_is_no_bundle_is_never_replaced(codes, target, kind):
    if kind == "file":
        target.write_text("mine")
    elif kind == "link":
        build_bundle(target.parent / "real", codes)
        target.symlink_to(target.parent / "real")
    else:
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
        if kind == "foreign":
            (target / "manifest.json").write_text('{"name": "a web app"}')
    before = left_in(target.parent)
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="path"):
            build_bundle(target, codes, overwrite=overwrite)
    assert left_in(target.parent) == before


def test_no_parent(codes, target):
    with pytest.raises(FileNotFoundError, match="does not exist; create"):
        build_bundle(target / "deeper", codes)


def test_bundle_that_came_meanwhile_is_not_replaced(codes, target):
    def images(sample):
        if not target.exists():
            build_bundle(target, codes, title="theirs")

    with pytest.raises(FileExistsError):
        build_bundle(target, codes, images=images, title="mine")
    assert open_bundle(target).title == "theirs" and left_in(target.parent) == ["bundle"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_folder_has_usual_permissions(codes, target):
    build_bundle(target, codes)
    (target.parent / "usual").mkdir()
    assert target.stat().st_mode == (target.parent / "usual").stat().st_mode


def test_umap_has_a_seed_and_needs_embeddings(codes, target, monkeypatch):
    """UMAP itself is not installed for tests: what it is given, and what is made of its answer."""
    asked = {}

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, values):
            return values[:, :2] * 2

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    embeddings = np.arange(3.0 * codes.shape[0]).reshape(-1, 3)
    found = build_bundle(target, codes, embeddings=embeddings, map="umap", random_state=0)
    assert np.array_equal(found.map, 2 * embeddings[:, :2])
    assert asked["n_components"] == 2 and isinstance(asked["random_state"], int)
    with pytest.raises(ValueError, match="map='umap' needs embeddings, got None"):
        build_bundle(target, codes, map="umap", overwrite=True)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"skdict\[umap\]"):
        build_bundle(target, codes, embeddings=embeddings, map="umap", overwrite=True)


def test_few_active_samples_are_in_the_bands_of_their_ranks(target):
    """The only active sample is the median, of two the stronger is in the upper half."""
    dense = np.zeros((9, 2))
    dense[4, 0] = 1.0
    dense[[2, 7], 1] = 1.0, 2.0
    bundle = build_bundle(target, dense, n_quantiles=5, n_per_quantile=1, map=None)
    assert bundle.examples(0, "quantile").ravel().tolist() == [-1, -1, 4, -1, -1]
    assert bundle.examples(1, "quantile").ravel().tolist() == [-1, 2, -1, 7, -1]


def test_a_bundle_with_files_of_others_is_not_replaced(codes, target):
    build_bundle(target, codes)
    (target / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files, such as 'thesis.txt'"):
        build_bundle(target, codes, overwrite=True)
    assert (target / "thesis.txt").read_text() == "mine"


def test_a_key_pressed_between_the_renames_loses_nothing(codes, target, monkeypatch):
    build_bundle(target, codes, title="old")
    replace = Path.replace

    def stopped(self, to):
        if self.name == "new":  # the old one has been moved away
            raise KeyboardInterrupt
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_bundle(target, codes, title="new", overwrite=True)
    monkeypatch.undo()
    assert open_bundle(target).title == "old"
    assert sorted(p.name for p in target.parent.iterdir()) == [target.name]


def test_pictures_that_could_not_be_read_are_not_written(codes, target):
    with pytest.raises(ValueError, match="picture_size must be at most 4096, got 5000"):
        build_bundle(target, codes, picture_size=5000)
