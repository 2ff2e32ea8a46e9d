"""
Concepts in images: the paper on a network made here
====================================================

A small masked autoencoder is trained on the images that ship with skdict, and the ICFL paper is
run on it: tokens, whitening, dictionary, heatmaps, stains, single cells, decoded layers. Every
statistic stands beside that of the same network before training.

What came out: the network learned to fill in what is hidden from it. But many features of the
untrained network follow stains, ring cells and tell cells apart, too: nearly as many, or more. A
heatmap that lies on a stain is no evidence of anything learned. All results are on the page
:ref:`image_concepts`.
"""

# %%
# The images
# ----------
# Four crops of one field with six channels, and five fields of five wells with three channels.
# Crop 2, which shares no cell with the others, and well H12 are held out: network, whitening and
# dictionary never see them; only the mean and the spread of a channel are those of the crop's whole
# field. Pixels enter as logarithms, standardised per field and channel. One network learns from
# both sets, because either is tiny: a channel that a set lacks enters as zeros and does not count
# in the loss.

import argparse
import copy
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import small_mae
import torch
from image_results import Results
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import Bunch

from skdict.datasets import load_cell_painting_crops, load_schwann_fields
from skdict.imaging import crop_table, iter_crop_batches

parser = argparse.ArgumentParser()
parser.add_argument("--save", type=Path, help="folder for pictures, tables and numbers")
parser.add_argument("--seed", type=int, default=0, help="seed of network, training, dictionary")
parser.add_argument("--steps", type=int, default=2000, help="steps of the training")
settings = parser.parse_args()
results = Results(settings.save, settings.seed, steps=settings.steps)
torch.set_num_threads(2)

crops, fields = load_cell_painting_crops(), load_schwann_fields()
six, mean, spread = small_mae.standardise(crops.images, crops.field)
six, six_present = small_mae.in_six_channels(six, crops.channels)
three = small_mae.standardise(fields.images, fields.field)[0]
three, three_present = small_mae.in_six_channels(three, fields.channels)

# The fields as crops of 256 x 256 pixels, row by row.
tiles = np.concatenate(list(iter_crop_batches(three, batch_size=4)))
wells = crop_table([(512, 512)] * 5, well=fields.well).well
held_crop, held_tile = np.arange(4) == 2, wells == "H12"

# %%
# The network
# -----------
# A vision transformer with four blocks and tokens of length 128, in `small_mae.py` beside this
# file. The untrained network is the same one before its first step.

torch.manual_seed(settings.seed)
networks = {"untrained": small_mae.SmallMAE().eval()}
networks["trained"] = copy.deepcopy(networks["untrained"])
losses = small_mae.train(
    networks["trained"],
    [*six[~held_crop], *three[fields.well != "H12"]],
    np.concatenate([six_present[~held_crop], three_present[fields.well != "H12"]]),
    n_steps=settings.steps,
    seed=settings.seed,
)

# %%
# Does it predict what it has not seen? Three quarters of the patches are hidden, and the error on
# them is given as a share of the error of a picture that is the mean everywhere: 1 is nothing
# learned. The last column is a rule without a network: as bright as the nearest patch that is seen.

models = {name: model.reconstruct for name, model in networks.items()}
models["nearest patch"] = small_mae.nearest_seen
rows, shares = [], {name: [] for name in models}
for where, images, present, channels in (
    ("held-out crop", six[held_crop], six_present[0], crops.channels),
    ("held-out well", tiles[held_tile], three_present[0], fields.channels),
):
    errors = {
        name: small_mae.masked_error(model, images)[present] for name, model in models.items()
    }
    mean_error = small_mae.masked_error(small_mae.mean_image, images)[present]
    for k, channel in enumerate(channels):
        row = {name: errors[name][k] / mean_error[k] for name in models}
        rows.append({"images": where, "channel": str(channel)}
                    | {name: f"{share:.2f}" for name, share in row.items()})  # fmt: skip
        for name, share in row.items():
            shares[name] += [share] if channel != "Brightfield" else []
results.table("reconstruction", rows)
for name, values in shares.items():
    results.number(f"error, {name}", np.mean(values))

# %%
# Tokens
# ------
# Every patch of all images, from all four blocks of both networks.

from skdict.extraction import TokenLayout, collect_tokens, layer_name

pixels, held = np.concatenate([six, tiles]), np.concatenate([held_crop, held_tile])
layers = [layer_name(networks["trained"], index) for index in range(4)]
folder = tempfile.TemporaryDirectory()
tokens = {
    name: collect_tokens(
        model, layers, np.array_split(pixels, 6), output=Path(folder.name) / name,
        layout=TokenLayout.from_image(256, patch_size=small_mae.PATCH), keep_prefix=True,
    )
    for name, model in networks.items()
}  # fmt: skip
print(tokens["trained"][layers[-1]].grid().shape)

# %%
# Whitening and dictionary
# ------------------------
# There are no treated and untreated wells here, so that the whitening takes the mean and the
# covariance of all tokens that are not held out. The dictionary writes each whitened token of unit
# length as a sum of at most 12 of 512 atoms. The untrained network has a whitening and a dictionary
# of its own. From here on the last block is used, the one that the decoder reads.

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.metrics import dead_fraction

concepts, rows = {}, []
for name in networks:
    grid = tokens[name][layers[-1]].grid()
    data, unseen = (grid[where].reshape(-1, grid.shape[-1]) for where in (~held, held))
    pipeline = make_pipeline(
        ControlPCAWhitener(),
        Normalizer(),
        ICFLDictionary(512, n_nonzero_coefs=12, random_state=settings.seed),
    )
    pipeline.fit(data, controlpcawhitener__control=np.ones(len(data), dtype=bool))
    alive = round(512 * (1 - dead_fraction(pipeline.transform(data))))
    concepts[name] = Bunch(transformer=pipeline[0], directions=pipeline[-1].components_)
    rows.append({
        "network": name, "features": 512, "alive": alive,
        "explained, training": f"{pipeline.score(data):.2f}",
        "explained, held out": f"{pipeline.score(unseen):.2f}",
    })  # fmt: skip
    results.number(f"alive, {name}", alive)
results.table("dictionary", rows)


def part(name, rows, features=slice(None)):
    """Tokens of some images and the features of a network, as the functions take them."""
    found = concepts[name]
    return {"tokens": tokens[name][layers[-1]].grid()[rows], "transformer": found.transformer,
            "directions": found.directions[features]}  # fmt: skip


# %%
# Which stain does each feature follow?
# -------------------------------------
# All 512 features against all stains, in four arms: as they are, after subtracting the mean token
# of each position, and both for the untrained network. On the fields the five wells are the
# replicates. The crops are one field: their p-values speak of these four images alone.

from skdict.display import ChannelSummaryDisplay
from skdict.imaging import channel_screen, pool_channels

data_sets = {
    "fields": Bunch(images=tiles[:, three_present[0]], rows=np.arange(4, 24), held=held_tile,
                    units=wells, channels=fields.channels),
    "crops": Bunch(images=six, rows=np.arange(4), held=held_crop, units=crops.well,
                   channels=crops.channels),
}  # fmt: skip
screens, rows = {}, []
for where, images in data_sets.items():
    images.stains = pool_channels(images.images, (32, 32))
    screens[where] = screen = channel_screen(
        **part("trained", images.rows), untrained=part("untrained", images.rows),
        stains=images.stains, channels=images.channels, units=images.units, random_state=0,
    )  # fmt: skip
    for arm, found in screen.arms().items():
        arm = {"centered": "trained, centered"}.get(arm, arm.replace("_", ", "))
        calls, stains = found.calls().call, slice(found.n_stains)
        strong = (found.q_value <= 0.05) & (np.abs(found.r) >= 0.1)
        row = {
            "follow a stain": int(strong[:, stains].any(axis=1).sum()),
            **{call: int(np.count_nonzero(calls == call)) for call in
               ("specific", "several", "inverse", "light leak", "edge", "none")},
            "mostly position": int((found.position_share > 0.5).sum()),
        }  # fmt: skip
        rows.append({"images": where, "arm": arm} | row)
        for name in ("follow a stain", "specific", "mostly position"):
            results.number(f"{name}, {where}, {arm}", row[name])
results.table("screen", rows)

# %%
# Is a trained feature closer to a stain than untrained ones are? For each stain the share of the
# trained features that follow it more closely than 95% of the untrained features do: with no
# difference it is 5%. And of the features that were called by what they follow, how many keep
# their stain when positions are centred?

rows = []
for where, screen in screens.items():
    for label, ours, theirs in (
        ("as they are", screen.trained, screen.untrained),
        ("centered", screen.centered, screen.untrained_centered),
    ):
        stains = slice(ours.n_stains)
        limit = np.quantile(np.abs(theirs.r[:, stains]), 0.95, axis=0)
        beyond = 100 * (np.abs(ours.r[:, stains]) > limit).mean(axis=0)
        results.number(f"beyond, {where}, {label}", round(beyond.mean()))
        for channel, share in zip(data_sets[where].channels, beyond, strict=True):
            rows.append({"images": where, "channel": str(channel), "positions": label,
                         "beyond 95% of untrained": f"{share:.0f}%"})  # fmt: skip
    calls = screen.calls()
    called = calls.call != "none"
    kept = round(100 * calls.survives_centering[called].mean())
    print(f"{where}: {called.sum()} features have a call, {kept}% of them keep their stain")
    results.number(f"keep their stain, {where}", kept)
results.table("beyond", rows)
for where, screen in screens.items():
    results.picture(f"summary_{where}", ChannelSummaryDisplay.from_screen(screen).figure_)

# %%
# One feature for each stain
# --------------------------
# For each stain the feature that follows it most closely on the training images, both by itself
# and with the other stains held fixed (partial correlation): the smaller of the two decides. These
# images chose the features; only the held-out ones test them, one crop or one well, and so without
# an interval.

from skdict.imaging import channel_correlations

chosen, rows = {}, []
for where, images in data_sets.items():
    halves = {"training": ~images.held, "held out": images.held}
    for name in networks:
        on = {
            half: channel_correlations(
                **part(name, images.rows[use]), stains=images.stains[use],
                channels=images.channels, units=images.units[use], artefacts=False,
                n_permutations=1, random_state=0,
            )
            for half, use in halves.items()
        }  # fmt: skip
        best = np.minimum(on["training"].r, on["training"].partial).argmax(axis=0)
        chosen[where, name] = best
        for k, (channel, feature) in enumerate(zip(images.channels, best, strict=True)):
            rows.append({"images": where, "stain": str(channel), "network": name,
                         "feature": int(feature)} | {
                f"{key}, {half}": f"{on[half][key][feature, k]:.2f}"
                for key in ("r", "partial") for half in halves
            })  # fmt: skip
        held_out = on["held out"].partial[best, np.arange(best.size)]
        results.number(f"best, {where}, {name}", held_out.mean())
rows.sort(key=lambda row: (row["images"], [*crops.channels, "Actin"].index(row["stain"])))
results.table("best", rows)

# %%
# The same features on held-out images: the stain, the feature of the trained network, and that of
# the untrained one. Each heatmap has a scale of its own, vermilion along the direction and blue
# against it.

from matplotlib.colors import LinearSegmentedColormap

from skdict.imaging import token_heatmaps

signed = LinearSegmentedColormap.from_list("signed", ["#0072B2", "#F7F7F7", "#D55E00"])


def beside_stains(where, image):
    """Stains of one image above the heatmaps of the features that were chosen for them."""
    images = data_sets[where]
    size = len(images.channels)
    figure, axes = plt.subplots(3, size, figsize=(1.7 * size + 0.4, 5.5), layout="constrained")
    for k, channel in enumerate(images.channels):
        low, high = np.percentile(images.images[image, k], [1, 99.5])
        axes[0, k].imshow(images.images[image, k], cmap="gray", vmin=low, vmax=high)
        axes[0, k].set_title(channel, fontsize="medium")
    for ax, name in zip(axes[1:], ("trained", "untrained"), strict=True):
        features = chosen[where, name]
        heatmaps = token_heatmaps(**part(name, images.rows[[image]], features))[0]
        for k, (feature, heatmap) in enumerate(zip(features, heatmaps, strict=True)):
            limit = np.abs(heatmap).max()
            ax[k].imshow(heatmap, cmap=signed, vmin=-limit, vmax=limit)
            ax[k].set_xlabel(f"feature {feature}, ±{limit:.1f}", fontsize="small")
    for ax, name in zip(axes[:, 0], ("stain", "trained", "untrained"), strict=True):
        ax.set_ylabel(name)
    plt.setp(axes.flat, xticks=[], yticks=[])
    return figure


results.picture("features_crop", beside_stains("crops", 2))
results.picture("features_well", beside_stains("fields", np.flatnonzero(held_tile)[0]))

# %%
# The gallery of the feature for actin: crops and patches of all wells at both of its ends. A
# gallery shows what a feature may be. It was chosen by the feature and tests nothing.

from skdict.display import ConceptGalleryDisplay

actin = chosen["fields", "trained"][2]
own = part("trained", slice(4, None), actin)
display = ConceptGalleryDisplay.from_tokens(
    own["tokens"], own["directions"], np.concatenate(list(iter_crop_batches(fields.images))),
    transformer=own["transformer"], n=3, n_patches=8, units=wells, max_per_unit=2,
    channels=fields.channels, name=f"Feature {actin}, chosen for actin", plot=False,
)  # fmt: skip
numbers = [int(name.split()[-1]) for name in display.image_names]
display.image_names = [f"{wells[number]}, crop {number % 4}" for number in numbers]
results.picture("gallery_actin", display.plot().figure_)

# %%
# Single cells
# ------------
# The crops of each field are put together again, so that no cell is cut but by the border of the
# field. There are no perturbed and control-like cells here. Two **stand-ins** take their place,
# read from the masks alone: cells smaller than the median of the whole cells of their field, and
# cells with a nucleus smaller than the median of its whole nuclei. The pixels of nuclei are left
# out: a small cell has a larger share of nucleus whatever it looks like.

from skdict.imaging import cell_alignment, cell_class_test, cell_table


def whole_fields(name, centered):
    """Whitened tokens of the five fields, shape (5, 64, 64, n_features)."""
    rows = tokens[name][layers[-1]].grid()[4:]
    white = concepts[name].transformer.transform(rows.reshape(-1, rows.shape[-1]))
    white = white.reshape(*rows.shape[:3], -1)
    white = white - white.mean(axis=0) if centered else white
    return white.reshape(5, 2, 2, 32, 32, -1).swapaxes(2, 3).reshape(5, 64, 64, -1)


def below_median(objects):
    """Whether each whole object is smaller than the median of its field, by (image, label)."""
    whole = np.flatnonzero(~objects.touches_border)
    image, size = objects.image[whole], objects.n_pixels[whole]
    median = np.array([np.median(size[image == i]) for i in range(5)])
    places = zip(image.tolist(), objects.label[whole].tolist())
    return dict(zip(places, size < median[image]))


stand_ins = {
    "small cell": below_median(cell_table(fields.cells, ignore=fields.cut)),
    "small nucleus": below_median(cell_table(fields.nuclei)),
}
arms = [(name, centered) for name in ("trained", "untrained") for centered in (False, True)]
field_tokens = {arm: whole_fields(*arm) for arm in arms}


def classed(arm, stand_in):
    """Alignment, class and well of the cells that a stand-in has a class for."""
    found = cell_alignment(
        field_tokens[arm], concepts[arm[0]].directions, fields.cells, ignore=fields.nuclei > 0
    )
    small = stand_ins[stand_in]
    places = list(zip(found.image.tolist(), found.label.tolist()))
    there = [i for i, place in enumerate(places) if place in small]
    return (found.alignment[there], np.array([small[places[i]] for i in there]),
            fields.well[found.image[there]])  # fmt: skip


def arm_name(arm):
    """Name of an arm in tables."""
    return f"{arm[0]}, centered" if arm[1] else arm[0]


rows = []
for stand_in in stand_ins:
    for arm in arms:
        alignment, small, well = classed(arm, stand_in)
        test = cell_class_test(alignment, small, field=well, random_state=0)
        n_found = int((test.q_value <= 0.05).sum())
        rows.append({
            "class": stand_in, "arm": arm_name(arm), "cells": small.size,
            "in the class": int(small.sum()), "features, q <= 0.05": n_found,
            "smallest q": f"{test.q_value.min():.2f}",
            "smallest p by wells": f"{test.sign_flip_p_value.min():.2f}",
        })  # fmt: skip
        results.number(f"{stand_in}, {arm_name(arm)}", n_found)
results.table("cells", rows)

# %%
# Five wells cannot give a p-value by wells below 1/16. So the feature that tells small nuclei best
# is chosen on four wells and tested on the fifth, with the recall of the paper's Table 3.

from skdict.display import CellAlignmentDisplay
from skdict.imaging import call_bright_cells, cell_recall

rows = []
for name in ("untrained", "trained"):
    alignment, small, well = classed((name, False), "small nucleus")
    new = well == "H12"
    found = cell_class_test(alignment[~new], small[~new], field=well[~new], random_state=0)
    best = np.abs(found.z).argmax()
    sign = np.sign(found.z[best])
    own = sign * alignment[new, best]
    test = cell_class_test(own, small[new], field=well[new], alternative="greater", random_state=0)
    recall = cell_recall(call_bright_cells(own, well[new]), small[new], well[new])
    rows.append({
        "network": name, "feature": int(best),
        "AUC, four wells": f"{0.5 + sign * (found.auc[best] - 0.5):.2f}",
        "AUC, H12": f"{test.auc[0]:.2f}", "p, H12": f"{test.p_value[0]:.2f}",
        "small recalled": f"{recall.n_recalled_perturbed.sum()} of {recall.n_perturbed.sum()}",
        "others recalled": f"{recall.n_recalled_control.sum()} of {recall.n_control.sum()}",
    })  # fmt: skip
    results.number(f"AUC on four wells, {name}", 0.5 + sign * (found.auc[best] - 0.5))
    results.number(f"AUC on H12, {name}", test.auc[0])
results.table("small_nuclei", rows)
display = CellAlignmentDisplay.from_cells(
    alignment[:, best], small, field=well, random_state=0,
    name=f"Feature {best}; perturbed stands for a small nucleus",
)  # fmt: skip
results.picture("cells", display.figure_)

# %%
# Rings
# -----
# Which features are high along the boundary of cells and low on both sides of it? Where cells
# touch, the boundary in these masks is a line that a watershed drew, not a membrane.

from skdict.display import BoundaryProfileDisplay
from skdict.imaging import boundary_profile, ring_test

rows, figure = [], plt.figure(figsize=(5.5, 4), layout="constrained")
ax = figure.add_subplot()
for arm in arms:
    rings = ring_test(
        field_tokens[arm], concepts[arm[0]].directions, fields.cells, units=fields.well,
        random_state=0,
    ).rings(0.05)  # fmt: skip
    rows.append({"arm": arm_name(arm), "ring-like features, q <= 0.05": rings.direction.size,
                 "largest r": f"{rings.r.max(initial=0):.2f}"})  # fmt: skip
    results.number(f"rings, {arm_name(arm)}", rings.direction.size)
    if not arm[1] and rings.direction.size:
        best = rings.direction[0]
        profile = boundary_profile(
            field_tokens[arm], concepts[arm[0]].directions[best], fields.cells, units=fields.well
        )
        BoundaryProfileDisplay.from_profile(profile, name=f"{arm[0]}, feature {best}", ax=ax)
results.table("rings", rows)
results.picture("rings", figure)

# %%
# The picture, block by block
# ---------------------------
# Tokens of every block go through the decoder, which was trained on those of the last one (Fig. 7A
# of the paper). Nothing is hidden here. The table has the error on the held-out crop, as above.

from skdict.display import DecodedImagesDisplay
from skdict.extraction import decode_tokens

decoded = decode_tokens(networks["trained"].draw, tokens["trained"])


def as_acquired(values):
    """Crops in the units of the microscope."""
    return np.expm1(mean[0] + spread[0] * values)


shown = [2, 1, 3]
pictures, rows = {"original": crops.images[shown].astype(float)}, []
for index, layer in enumerate(layers):
    pictures[f"block {index + 1}"] = as_acquired(decoded[layer][shown])
    error = ((decoded[layer][2] - six[2]) ** 2).mean(axis=(1, 2)) / (six[2] ** 2).mean(axis=(1, 2))
    rows.append({"block": index + 1} | {
        str(channel): f"{share:.2f}" for channel, share in zip(crops.channels, error, strict=True)
    })  # fmt: skip
results.table("decoded", rows)
display = DecodedImagesDisplay(
    pictures, channels=crops.channels, image_names=["crop 2, held out", "crop 1", "crop 3"]
).plot()
results.picture("decoded", display.figure_)

# %%
# A concept added and removed
# ---------------------------
# Five standard deviations of a feature are added to all tokens of the held-out crop, or what they
# have of it is set to zero, and the decoder draws them. Columns are the features that were chosen
# for three stains.

from skdict.imaging import edit_tokens

last = tokens["trained"][layers[-1]]
plain = decoded[layers[-1]][2]


def drawn_with(feature, amount, mode="add"):
    """The held-out crop as the decoder draws it with more, or a given amount, of a feature."""
    own = part("trained", [2], feature)
    edited = edit_tokens(own["tokens"], own["directions"], amount, mode=mode,
                         transformer=own["transformer"])  # fmt: skip
    drawn = decode_tokens(networks["trained"].draw, edited, class_tokens=last.prefix[2:3, 0])
    return drawn[0]


stains = [list(crops.channels).index(name) for name in ("DNA", "AGP", "Mito")]
features = chosen["crops", "trained"][stains]
display = DecodedImagesDisplay(
    {
        "decoded": as_acquired(np.stack([plain] * 3)),
        "removed": as_acquired(np.stack([drawn_with(m, 0.0, "set") for m in features])),
        "added": as_acquired(np.stack([drawn_with(m, 5.0) for m in features])),
    },
    difference=("added", "decoded"), channels=crops.channels,
    image_names=[f"{crops.channels[k]}: feature {m}" for k, m in zip(stains, features)],
).plot()  # fmt: skip
results.picture("added", display.figure_)

# %%
# For all features: does a feature that follows a stain also draw that stain? A feature moves the
# mean of every channel of the picture. *Same direction*: the channel of its call moves the way the
# correlation says. *Moved most*: of all channels that one moves most, each in units of its spread
# over the features. Chance is what the same calls give on shuffled features.

change = np.array([(drawn_with(m, 5.0) - plain).mean(axis=(1, 2)) for m in range(512)])
scaled = change / change.std(axis=0)
calls, rng, rows = screens["crops"].trained.calls(), np.random.default_rng(0), []
for call in ("specific", "several"):
    own = np.flatnonzero(calls.call == call)
    channel = np.array([list(crops.channels).index(name) for name in calls.channel[own]])
    sign = np.sign(calls.r[own])
    shuffled = rng.integers(0, 512, size=(999, own.size))
    row = {"call on the crops": call, "features": own.size}
    for where, features in (("", own), (", by chance", shuffled)):
        same = np.mean(np.sign(change[features, channel]) == sign)
        most = np.mean(np.abs(scaled[features]).argmax(axis=-1) == channel)
        for name, share in (("same direction", same), ("moved most", most)):
            row[name + where] = f"{100 * share:.0f}%"
            results.number(f"{name}{where}, {call}", round(100 * share))
    rows.append(row)
results.table("intervention", rows)

results.write()
if not settings.save:
    plt.show()
