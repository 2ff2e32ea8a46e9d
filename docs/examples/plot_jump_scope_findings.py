"""
From a plate table to findings
==============================

A screen of 90 compounds, from the table of its wells to a list of what can be reported: which
concepts each compound switches on or off, on which plates it holds, what of it is position, plate
or cell count, how often the same steps find something where there is nothing, and what they miss.
"""

# %%
# The table
# ---------
# Every line of the table is a well in one imaging set-up. Two of the six set-ups may have imaged
# the same plate, which then holds the same physical wells twice. These are no replicates: the
# **unit** is the physical well, and its name has to be unique in the whole table. Two plates are
# laid aside for the end.

import numpy as np

from skdict.datasets import load_jump_scope

wells = load_jump_scope()
unit = np.char.add(np.char.add(wells.plate, " "), wells.well)
held_out = ["BR00117059", "YokogawaJP"]
first = ~np.isin(wells.plate, held_out)
print(f"{wells.data.shape[0]} rows, {len(set(unit))} wells on {len(set(wells.plate))} plates")
print(f"{len(set(unit[wells.control]))} of the wells are DMSO")

# %%
# Concepts
# --------
# Nothing is fitted on the plates that were laid aside. The controls of the others are few for 216
# features, so that only 32 whitened directions are kept. The dictionary is small, 128 atoms of
# which 10 describe a row: with so few wells fine concepts would be active in too few of them to
# be tested.

import sklearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary

sklearn.set_config(enable_metadata_routing=True)  # hands `control` to the whitener

pipeline = make_pipeline(
    ControlPCAWhitener(32),
    Normalizer(),
    ICFLDictionary(n_components=128, n_nonzero_coefs=10, random_state=0),
)
pipeline.fit(wells.data[first], control=wells.control[first])
codes = pipeline.transform(wells.data)

# %%
# What each compound does
# -----------------------
# :func:`~skdict.effects.concept_effects` compares the wells of each compound with the DMSO wells
# of the same plates, in the *rate*, how many wells activate a concept, and in the *strength* of
# those that do. The p-values come from exchanging wells within plates. Hits of the first plates
# are tested once more on those laid aside, in the direction that was found.

from skdict.effects import concept_effects

settings = {"units": unit, "held_out": held_out, "random_state": 0}
found = concept_effects(codes, wells.compound, wells.control, wells.plate, **settings)
print(found)

# %%
# The compounds with most hits. ``n_replicated`` counts the concepts that held on the other plates.

by_compound = found.by_perturbation(as_frame=True)
print(by_compound.drop(columns="n_plates").head(8).to_string(index=False))

# %%
# One compound against all concepts, the one with most replicated concepts. It was chosen for it,
# so that the picture shows what a strong effect looks like, not a typical one.

import matplotlib.pyplot as plt

from skdict.display import VolcanoDisplay

order = by_compound["n_replicated"].argsort(kind="stable")
compound = by_compound["perturbation"].iloc[order.iloc[-1]]
mechanism = dict(zip(wells.compound, wells.moa, strict=True))
volcano = VolcanoDisplay.from_effects(
    found, perturbation=compound, name=f"{compound} ({mechanism[compound]})"
)
plt.show()

# %%
# Technical or biological?
# ------------------------
# :func:`~skdict.effects.technical_audit` divides the variance of each concept into what only
# compounds can explain, what only plate, position and cell count can explain, and what the layout
# gives to both. The lines of the factors are about the layout alone: how much of the compounds'
# degrees of freedom each of them takes away, and how much it overlaps with them.

from skdict.effects import technical_audit, well_position

place = well_position(wells.well)
factors = {
    "plate": wells.plate,
    "row": place.row,
    "column": place.column,
    "edge": place.edge,
    "cell count": wells.n_cells,
}
audit = technical_audit(codes, wells.compound, factors, units=unit, random_state=0)
print(audit)

# %%
# The bars show the concepts of which most is explained. A compound that kills cells changes their
# number, so that the cell count takes some of the biology along, into the grey part. This is one
# reason why a concept may be called "not separable" though its compound does something.

from skdict.display import TechnicalAuditDisplay

TechnicalAuditDisplay.from_audit(audit)
plt.show()

# %%
# Two concepts on the plate, as means over plates. Above, of those called technical, the one that
# row and column explain best; below, the concept of the largest biological part. Four wells of
# the same colour, far apart, are a compound; a row, a column or a corner is the plate.

from skdict.display import PlateMapDisplay

share = dict(zip(audit.factors, audit.factor_share, strict=True))
technical = np.flatnonzero(audit.verdict == "technical")
technical = technical[np.argmax((share["row"] + share["column"])[technical])]
biological = np.argmax(np.where(audit.verdict == "biological", audit.unique_biology, -1.0))

figure, axes = plt.subplots(2, 1, figsize=(8, 9.6), layout="constrained")
for ax, concept in zip(axes, [technical, biological], strict=True):
    PlateMapDisplay.from_codes(
        codes,
        concept,
        wells.well,
        wells.plate,
        wells.control,
        name=f"concept {concept}, {audit.verdict[concept]}",
        ax=ax,
    )
    print(
        f"concept {concept}: row explains {share['row'][concept]:.1%}, column "
        f"{share['column'][concept]:.1%}, cell count {share['cell count'][concept]:.1%}, "
        f"compounds {audit.biology_share[concept]:.1%}; strongest for {audit.label[concept]}"
    )
plt.show()

# %%
# Ask the neighbours
# ------------------
# A compound that lies in the same wells on every plate replicates its position as well as its
# effect. The wells beside it have nearly the same position and other compounds in them.
# :func:`~skdict.effects.neighbour_effects` puts them through the same test: where they show the
# same concept in the same direction, the finding may be the place.

from skdict.effects import neighbour_effects

around = neighbour_effects(
    codes, wells.compound, wells.control, wells.plate, wells.well, **settings
)

# %%
# The findings
# ------------
# :func:`~skdict.effects.findings` gives each hit one line of what became of it. The order is that
# of the questions: does it hold on the other plates; do the neighbours show at least half of it;
# is the concept one that the audit gives to technical factors or cannot separate from them.

from skdict.effects import findings

hits = findings(found, audit=audit, neighbours=around, as_frame=True)
print(f"median effect in the neighbours: {hits['neighbour_share'].median():.0%} of the hit's own")
outcomes = hits.groupby("outcome")["perturbation"].agg(hits="size", compounds="nunique")
print(outcomes.sort_values("hits", ascending=False).to_string())

# %%
# Those of each kind with the smallest q-values: the effect in the screen, on the plates that were
# laid aside, and in the wells beside them.

columns = {
    "perturbation": "compound",
    "concept": "concept",
    "statistic": "statistic",
    "effect": "effect",
    "replication_effect": "laid aside",
    "neighbour_effect": "neighbours",
}
shown = hits.rename(columns=columns)
for outcome in outcomes.index:
    print(outcome)
    some = shown.loc[shown["outcome"] == outcome, [*columns.values()]].head(4)
    print(some.round(2).to_string(index=False))

# %%
# A question that position cannot answer
# --------------------------------------
# Most mechanisms here have two compounds, in different wells; position does not know which two
# belong together. How often does the other compound of the mechanism show what stands, in the same
# direction and with p of at most 0.05, and how often do compounds of other mechanisms?

remaining = hits[hits["outcome"] == "stands"]
mechanisms = np.array([mechanism[name] for name in found.perturbations])
sibling, other = [], []
for name, concept, statistic, z in remaining[["perturbation", "concept", "statistic", "z"]].values:
    tests = found[statistic]
    shows = np.sign(tests.z[:, concept]) == np.sign(z)
    shows &= tests.tail_p_value[:, concept] <= 0.05
    same = mechanisms == mechanism[name]
    sibling.extend(shows[same & (found.perturbations != name)])
    other.extend(shows[~same])
print(f"other compound of the mechanism  {np.mean(sibling):.0%} of {len(sibling)} pairs")
print(f"compounds of other mechanisms    {np.mean(other):.0%} of {len(other)} pairs")

# %%
# What is found where there is nothing
# ------------------------------------
# DMSO wells are relabelled as compounds and go through the same steps. Whatever is found is false.
# With ``refit`` the pipeline is fitted anew each time, and to the whitener the relabelled wells are
# no controls, as those of a real compound are none. It would have made them ordinary otherwise.

from skdict.effects import false_positive_rate

rates = false_positive_rate(
    wells.data,
    wells.control,
    wells.plate,
    pipeline=pipeline,
    refit="relabelled",
    units=unit,
    n_repeats=6,
    random_state=0,
)
print(rates)

# %%
# Shares at or below their level are what is hoped for. They lie below it where the rate of a few
# wells takes few values. Six repetitions say little about rare events: look at the intervals.
#
# What would be missed
# --------------------
# :func:`~skdict.effects.detection_limit` adds effects to DMSO wells of the plates that were laid
# aside, which no step of the pipeline has seen. They have a strength in standard deviations of the
# controls, and a direction: at random, or that of a real compound. The same rows without the
# dictionary, whitened and of unit length, show what the concepts cost. Few repetitions keep this
# page short; the whiskers show it.

from skdict.effects import detection_limit

directions = [
    wells.data[first & (wells.compound == name)].mean(axis=0)
    - wells.data[first & wells.control].mean(axis=0)
    for name in found.perturbations
]
limits = {
    title: detection_limit(
        wells.data,
        wells.control,
        wells.plate,
        {"concepts": pipeline, "no dictionary": pipeline[:-1]},
        units=unit,
        fit_rows=first,
        strengths=(2, 4, 8, 16, 32),
        directions=of,
        random_state=0,
    )
    for title, of in {"random directions": None, "directions of compounds": directions}.items()
}

from skdict.display import PowerCurveDisplay

figure, axes = plt.subplots(2, 1, figsize=(8, 6.4), sharex=True, layout="constrained")
for ax, (title, limit) in zip(axes, limits.items(), strict=True):
    PowerCurveDisplay.from_limit(limit, name=title, ax=ax)
    ax.set_title(title, fontsize="medium")
    ax.label_outer()
    print(f"{title}: {limit}")
plt.show()

# %%
# Concepts need not be the most sensitive representation: ten atoms of a row leave out what no row
# taught them, and that is most of a random direction. What they give in return is a part of the
# difference that can be looked at. Where nothing is found, "no effect" is the wrong word: it is an
# effect below such a limit. This is the limit of two plates; that of three should be lower.
#
# Why two means differ
# --------------------
# :func:`~skdict.metrics.explain_difference` writes the difference of two mean embeddings as a sum
# over concepts and a rest. Both means are brought to unit length, so that the shares divide the
# cosine distance between them. First the compound of the volcano against DMSO, then against another
# compound of its mechanism, if there is one.

from skdict.metrics import explain_difference

embeddings, dictionary = pipeline[:-1].transform(wells.data), pipeline[-1]
partners = [name for name in found.perturbations if mechanism[name] == mechanism[compound]]
partners.remove(compound)
for partner in ["DMSO", *partners[:1]]:
    parts = explain_difference(
        embeddings,
        codes,
        dictionary.components_,
        wells.compound,
        compound,
        partner,
        units=unit,
        intercept=dictionary.intercept_,
        normalize=True,
        n_concepts=5,
    )
    print(f"{compound} - {partner}, cosine distance of the means {1 - parts.cosine:.2f}")
    for concept, share_of, verdict_of in zip(
        parts.component, parts.share, audit.verdict[parts.component], strict=True
    ):
        print(f"  concept {concept:<14} {share_of:6.1%}  {verdict_of}")
    rest = parts.explained_share - parts.share.sum()
    print(f"  all other concepts     {rest:6.1%}")
    print(f"  intercept              {parts.intercept_share:6.1%}")
    print(f"  not in the dictionary  {parts.residual_share:6.1%}")
    total = parts.explained_share + parts.intercept_share + parts.residual_share
    print(f"  sum                    {total:6.1%}")

# %%
# Keep it
# -------
# ``save`` writes the figure together with its numbers and a paragraph for the methods section.

import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    volcano.save(Path(folder) / "volcano.svg")
    print(sorted(file.name for file in Path(folder).iterdir()))
    print(Path(folder, "volcano.txt").read_text())

# %%
# What can be said, and what cannot
# ---------------------------------
# A finding that stands says: in this concept these wells differ from the DMSO of their plates,
# more than wells of DMSO differ from each other, on other plates too, and the wells beside them
# do not. It does not say that the compound did it. **Every compound sits in the same four wells on
# all plates**; what is peculiar to a single well, and its row, column and neighbours do not share,
# looks like the compound. With the well itself as a factor the audit says so:

everything = factors | {"well": wells.well}
with_well = technical_audit(codes, wells.compound, everything, units=unit, random_state=0)
print(with_well.counts())
aliased = dict(zip(with_well.design["factor"], with_well.design["aliased_share"], strict=True))
print(f"of the compounds' degrees of freedom the well takes {aliased['well']:.0%}")

# %%
# What position cannot bring about is that compounds of one mechanism, in different wells, share
# findings: compare the two percentages above. They speak for the findings together and for none
# of them alone. The remedy is a layout that differs between plates. Nor is a concept a mechanism:
# it is a direction in what was measured, and its name is for you to find (:ref:`explore`).
#
# There are no doses in this set. Where there are, :func:`~skdict.effects.concept_effects` takes
# them and tests a trend, :func:`~skdict.effects.dose_response` and
# :class:`~skdict.display.DoseCurveDisplay` give the curve: see :ref:`effects`.

sklearn.set_config(enable_metadata_routing=False)
