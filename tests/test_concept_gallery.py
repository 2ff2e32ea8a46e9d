"""The HTML page of many concepts: complete, escaped, on its own, written all or not at all."""

import base64
import io
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.utils import Bunch

from skdict.concept_gallery import write_concept_gallery
from skdict.imaging import concept_examples, pool_channels

images_module = pytest.importorskip("PIL.Image")

NASTY = "<script>alert(\"x\")</script> & 'b'"


@pytest.fixture
def images(rng):
    return rng.random((8, 3, 16, 24))


@pytest.fixture
def examples(images):
    tokens = pool_channels(images, (4, 6)).transpose(0, 2, 3, 1)
    return concept_examples(tokens - tokens.mean(axis=(0, 1, 2)), np.eye(3)[:2], n=2, n_patches=3)


class Elements(HTMLParser):
    """Tags with their attributes, and whether every tag is closed."""

    VOID = {"meta", "br", "image", "use", "rect", "fecolormatrix", "img", "link"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_holds_both_ends_of_every_concept(examples, images, tmp_path):
    path = write_concept_gallery(
        tmp_path / "page.html", examples, images, channels=["DNA", "ER", "Mito"],
        concepts=["nucleus", NASTY], image_names=[f"well {NASTY} {i}" for i in range(8)],
        notes=[NASTY], title=NASTY,
    )  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    elements = Elements(text)
    used = [attributes["href"].removeprefix("#") for attributes in elements.of("use")]
    kept = [attributes["id"] for attributes in elements.of("image") if "id" in attributes]
    assert set(used) == set(kept) and len(kept) == len(set(kept))
    for end in ("most", "least"):
        for number in examples.images[end].ravel():
            assert f"i{number}" in used and f"i{number}c2" in used
    # every picture has a text, and no two of a kind are the same
    pictures = [attributes for attributes in elements.of("svg") if "role" in attributes]
    labels = [attributes["aria-label"] for attributes in pictures]
    assert len(labels) == 2 * (2 * 2 * (2 + 3) + 2 * 3)
    assert any(label.startswith("Heatmap on well") for label in labels)
    anchors = {attributes["href"] for attributes in elements.of("a")}
    sections = {f"#{attributes['id']}" for attributes in elements.of("section")}
    assert anchors == sections
    assert len(elements.of("details")) == 2  # unfolded by keyboard, without a script


def test_nothing_is_loaded_from_elsewhere(examples, images, tmp_path):
    text = write_concept_gallery(tmp_path / "page.html", examples, images).read_text()
    for address in re.findall(r'(?:href|src)="([^"]*)"', text):
        assert address.startswith(("#", "data:image/png;base64,")), address[:60]
    assert "url(http" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text


def decoded(address):
    return np.asarray(
        images_module.open(
            io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))
        ).convert("RGBA")
    )


def test_pictures_and_heatmaps_are_those_of_the_examples(examples, images, tmp_path):
    limits = [(0, 1)] * 3
    text = write_concept_gallery(
        tmp_path / "page.html", examples, images, limits=limits, single_stains=True
    ).read_text()
    elements = Elements(text).of("image")
    by_name = {a["id"]: a for a in elements if "id" in a}
    number = int(examples.images.most[0, 0])
    grey = decoded(by_name[f"i{number}c1"]["href"])
    assert grey.shape == (16, 24, 4)  # not made larger
    assert_allclose(grey[..., 0] / 255, images[number, 1], atol=1 / 63)
    maps = [decoded(a["href"]) for a in elements if a.get("preserveaspectratio") == "none"]
    heat, heatmap = maps[0], examples.most_heatmaps[0, 0]
    assert heat.shape == (4, 6, 4)
    vmax = max(np.abs(examples[f"{end}_heatmaps"][0]).max() for end in ("most", "least"))
    assert_allclose(heat[..., 3] / 255, 0.85 * np.abs(heatmap) / vmax, atol=0.003)
    assert ((heat[..., 0] > heat[..., 2]) == (heatmap > 0)).all()


def test_large_images_are_made_smaller_and_stored_once(rng, tmp_path):
    images = rng.random((3, 2, 64, 96))
    tokens = pool_channels(images, (4, 6)).transpose(0, 2, 3, 1)
    examples = concept_examples(tokens, np.eye(2), n=3, n_patches=0)
    text = write_concept_gallery(
        tmp_path / "page.html", examples, images, picture_size=48, single_stains=False
    ).read_text()
    elements = Elements(text)
    kept = [a for a in elements.of("image") if "id" in a]
    assert [decoded(a["href"]).shape[:2] for a in kept] == [(32, 48)] * 3
    assert len(elements.of("use")) == 2 * 2 * 2 * 3
    assert not elements.of("details") and "aligned patches" not in text


def test_correlations_stand_beside_the_concepts(examples, images, tmp_path):
    r = np.array([[0.5, -0.25], [0.125, 1.0]])
    correlations = Bunch(channels=["DNA", "ER"], r=r, low=r - 1, high=r + 1, q_value=r**2)
    text = write_concept_gallery(
        tmp_path / "page.html", examples, images, correlations=correlations
    ).read_text()
    assert "-1.25 to 0.75" in text and text.count("false-discovery rate") == 2
    assert "–" not in text
    correlations.r[1, 1] = correlations.low[1, 1] = correlations.q_value[1, 1] = np.nan
    text = write_concept_gallery(
        tmp_path / "page.html", examples, images, correlations=correlations
    ).read_text(encoding="utf-8")
    assert ">nan" not in text and text.count("–") == 4  # the overview, r, interval, rate
    with pytest.raises(ValueError, match="correlations must be those of the 2 directions .* got 1"):
        write_concept_gallery(tmp_path / "page.html", examples, images, correlations=Bunch(r=r[:1]))


def test_only_images_that_are_shown_are_read(examples, images, tmp_path):
    read = []

    def get_image(i):
        read.append(i)
        return images[i]

    write_concept_gallery(tmp_path / "page.html", examples, get_image, limits=[(0, 1)] * 3)
    shown = {int(i) for found in (examples.images, examples.patches)
             for end in ("most", "least") for i in found[end].ravel()}  # fmt: skip
    assert sorted(read) == sorted(shown)


def test_the_same_input_gives_the_same_file(examples, images, tmp_path):
    pages = [
        write_concept_gallery(tmp_path / f"{i}.html", examples, images).read_bytes() for i in "ab"
    ]
    assert pages[0] == pages[1]


def test_an_old_page_survives_an_error(examples, images, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="the token grid does not match the image"):
        write_concept_gallery(path, examples, images[:, :, :15])
    with monkeypatch.context() as patch:

        def full(descriptor):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left.*page\.html.*free some space"):
            write_concept_gallery(path, examples, images)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_errors_name_the_parameter(examples, images, tmp_path):
    path = tmp_path / "page.html"
    with pytest.raises(ValueError, match=r"path must end in \.html, got .*page\.svg"):
        write_concept_gallery(tmp_path / "page.svg", examples, images)
    with pytest.raises(FileNotFoundError, match="folder that does not exist"):
        write_concept_gallery(tmp_path / "no" / "page.html", examples, images)
    with pytest.raises(TypeError, match="examples must be the result of .* got MostAligned"):
        write_concept_gallery(path, examples.images, images)
    with pytest.raises(ValueError, match="images must be those of the tokens: got 7 images .* 8"):
        write_concept_gallery(path, examples, images[:7])
    with pytest.raises(ValueError, match="concepts must have 2 entries, got 1"):
        write_concept_gallery(path, examples, images, concepts=["a"])
    with pytest.raises(ValueError, match="image_names must have 8 entries, got 1"):
        write_concept_gallery(path, examples, images, image_names=["a"])
    with pytest.raises(ValueError, match="picture_size must be an integer >= 16, got 8"):
        write_concept_gallery(path, examples, images, picture_size=8)
    assert not path.exists()
