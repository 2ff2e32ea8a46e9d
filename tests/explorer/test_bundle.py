"""An opened bundle: what it reads, when it reads it, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from skdict.explorer import build_bundle, open_bundle
from skdict.explorer._bundle_files import BundleFiles

PER_CONCEPT = ["activations", "histogram", "genes", "pathways", "neighbors", "coactive", "examples"]


def test_activations_agree_both_ways(small_bundle, bundle_inputs):
    codes = np.maximum(bundle_inputs["codes"].toarray(), 0)
    for sample in range(0, 300, 23):
        concepts, values = small_bundle.concepts_of(sample)
        assert set(concepts) == set(np.flatnonzero(codes[sample]))
        np.testing.assert_allclose(values, codes[sample, concepts], rtol=1e-6)
        assert (np.diff(values) <= 0).all()
        for concept, value in zip(concepts.tolist(), values):
            samples, theirs = small_bundle.activations(concept)
            assert theirs[samples == sample] == value


def test_selectivity_table(small_bundle, bundle_inputs):
    active = bundle_inputs["codes"].toarray()[:, 3] > 0
    table = small_bundle.selectivity(3, "cell_type")
    assert table.selectivity.is_monotonic_decreasing
    y = bundle_inputs["metadata"]["cell_type"]
    for row in table.itertuples():
        assert row.n_samples == (y == row.label).sum()
        assert row.share_active == pytest.approx(active[y == row.label].mean())
        rest = active[y != row.label].mean()
        assert row.selectivity == pytest.approx(row.share_active - rest, abs=1e-6)


def test_samples_hold_what_was_given(small_bundle, bundle_inputs):
    samples, metadata = small_bundle.samples, bundle_inputs["metadata"]
    assert samples.name.tolist() == bundle_inputs["sample_names"]
    assert samples.cell_type.tolist() == metadata["cell_type"].tolist()
    assert samples.comment.tolist() == metadata["comment"].tolist()
    assert samples.depth.tolist() == metadata["depth"].tolist()
    known = samples.donor.notna()
    assert known.tolist() == [donor is not None for donor in metadata["donor"]]
    assert small_bundle.title == bundle_inputs["title"]
    assert small_bundle.description == bundle_inputs["description"]


def test_parts_that_are_not_there(tmp_path):
    bundle = build_bundle(tmp_path / "bundle", [[1.0, 0.0], [1.0, 2.0]], map=None)
    for part in ("map", "neighbors", "genes", "pathways", "thumbnails", "heatmaps"):
        assert not bundle.has(part)
    assert bundle.map is None and bundle.thumbnail(0) is None and bundle.heatmap(0, 0) is None
    assert bundle.genes(0) is None and bundle.pathways(0) is None and bundle.neighbors(0) is None
    assert bundle.label_columns == [] and bundle.samples.columns.tolist() == ["sample", "name"]
    assert bundle.concepts.selectivity.isna().all()
    with pytest.raises(ValueError, match="part must be one of"):
        bundle.has("gene")
    with pytest.raises(ValueError, match="column must be one of"):
        bundle.selectivity(0, "cell_type")


@pytest.mark.parametrize("method", PER_CONCEPT)
@pytest.mark.parametrize("concept", [-1, 24, 1.0, "0", True, None, "../0"], ids=repr)
def test_concepts_that_are_not_there(small_bundle, method, concept):
    with pytest.raises(ValueError, match="concept must be an integer from 0 to 23"):
        getattr(small_bundle, method)(concept)


def test_samples_that_are_not_there(small_bundle):
    for sample in (-1, 300, "../../manifest"):
        with pytest.raises(ValueError, match="sample must be an integer from 0 to 299"):
            small_bundle.thumbnail(sample)
        with pytest.raises(ValueError, match="sample must be"):
            small_bundle.concepts_of(sample)
        with pytest.raises(ValueError, match="sample must be"):
            small_bundle.heatmap(0, sample)
    with pytest.raises(ValueError, match="kind must be one of"):
        small_bundle.examples(0, "best")


def test_numpy_integers_are_integers(small_bundle):
    assert small_bundle.examples(np.int32(0)).tolist() == small_bundle.examples(0).tolist()


def test_opening_reads_the_manifest_and_the_concepts(small_bundle_path, monkeypatch):
    read = []
    check = BundleFiles.check
    monkeypatch.setattr(
        BundleFiles, "check", lambda self, name, **k: (read.append(name), check(self, name, **k))[1]
    )
    bundle = open_bundle(small_bundle_path)
    assert read == ["concepts.parquet"]
    bundle.examples(0), bundle.examples(1)
    assert read == ["concepts.parquet", "examples_top.npy"]


def test_arrays_are_maps_and_cannot_be_written(small_bundle):
    assert isinstance(small_bundle.map, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        small_bundle.map[0] = 0
    samples, values = small_bundle.activations(0)
    values[:] = 0  # a copy of ours
    assert small_bundle.activations(0)[1].all()


def test_import_brings_no_optional_package():
    code = (
        "import sys, sklearn.base\n"
        "before = set(sys.modules)\n"
        "import skdict.explorer\n"
        "names = ['torch', 'matplotlib', 'pandas', 'pyarrow', 'PIL', 'panel', 'bokeh', 'jinja2']\n"
        "print([name for name in names if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_repr(small_bundle):
    assert "24 concepts, 300 samples, with map, neighbors" in repr(small_bundle)


def test_threads_read_genes_together(small_bundle_path):
    from concurrent.futures import ThreadPoolExecutor

    bundle = open_bundle(small_bundle_path)
    alone = [bundle.genes(concept).gene.tolist() for concept in range(24)]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda i: bundle.genes(i % 24).gene.tolist(), range(200)))
    assert many == [alone[i % 24] for i in range(200)]
