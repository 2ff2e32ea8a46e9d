"""What a blinded study says: interpretable shares by kind, and how far experts agree."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_real, import_optional
from skdict.explorer._agreement import cohen_kappa, fleiss_kappa
from skdict.explorer._blinded import BlindedStudy
from skdict.explorer._blinded_answers import ANSWERS
from skdict.explorer._blinded_files import read_key_file
from skdict.genes._quality import InterpretableShare, wilson_interval

_FEW_ITEMS = 30
_AGREEMENT = ("n_items", "agreement", "kappa", "low", "high", "undefined_share", "reason", "remark")


class StudyResults(Bunch):
    """Result of :func:`study_results`; prints a summary.

    See :func:`study_results` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def __repr__(self):
        """Summary: shares, differences, agreement, remarks."""
        level = f"{100 * self.confidence_level:.4g}% intervals"
        experts = f"{len(self.experts)} expert{'s' * (len(self.experts) != 1)}"
        lines = [f"Blinded study {self.study_id}, {experts} ({level})"]
        for row in self.shares.itertuples():
            lines.append(f"  {row.kind:<16} {_interval(row.share, row)} interpretable, "
                         f"{row.n_interpretable} of {row.n_items}")  # fmt: skip
        for row in self.differences.itertuples():
            lines.append(f"  {row.kind} - {row.reference}: {_interval(row.difference, row)}")
        for row in self.intra.itertuples():
            lines.append(f"  {row.expert} with themselves: {_kappa(row)}")
        for row in self.inter.itertuples():
            lines.append(f"  experts with each other ({row.method}): {_kappa(row)}")
        return "\n".join(lines + [f"  ! {remark}" for remark in self.remarks])


def study_results(
    study, key, answers, *, confidence_level: float = 0.95, n_bootstrap: int = 1000,
    random_state=None,
) -> StudyResults:  # fmt: skip
    """Open the key and count.

    An item is interpretable if more than half of the experts who answered it said "yes" when they
    saw it first; "unsure" is not "yes".

    Parameters
    ----------
    study : BlindedStudy, str or path-like
        The study or its file.
    key : str or path-like
        Its key.
    answers : str or path-like, or sequence of them
        Files of answers; each expert in one of them.
    confidence_level : float, default=0.95
        Level of the intervals.
    n_bootstrap : int, default=1000
        Draws of items for the intervals of kappa.
    random_state : int, RandomState instance or None, default=None
        Draws.

    Returns
    -------
    StudyResults
        A Bunch that prints a summary:

        shares : DataFrame
            ``kind``, ``n_items``, ``n_interpretable``, ``share``, ``low``, ``high``: Wilson's
            interval over items.
        shares_by_expert : DataFrame
            The same with a column ``expert`` in front: what each says alone.
        differences : DataFrame
            ``kind``, ``reference``, ``difference``, ``low``, ``high``: share of a kind above that
            of each other, with Newcombe's interval from the two of Wilson.
        intra : DataFrame
            For each expert, Cohen's kappa of first and second answers to the repeated items:
            ``expert``, ``n_items``, ``agreement``, ``kappa``, ``low``, ``high`` (bootstrap over
            items), ``undefined_share``, ``reason`` (why kappa is NaN), ``remark``.
        inter : DataFrame
            The same between experts over the items that all have answered, in one row with
            ``method``: Cohen's kappa of two, Fleiss' of more.
        answers : DataFrame
            All answers with ``kind``, ``id`` and ``repeat`` (0 first, 1 again).
        remarks : list of str
            What limits the numbers: few items, sessions that are not complete.
        experts : list of str
            The experts.
        study_id : str
            Number of the study.
        confidence_level : float
            As given.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If a file is none of its kind, the key is of another study, there are no answers, or an
        expert is in two files.

    See Also
    --------
    cohen_kappa : Agreement of two.
    fleiss_kappa : Agreement of more.

    Examples
    --------
    See :func:`make_blinded_study`.
    """
    check_real("confidence_level", confidence_level, 0, 1, open_low=True)
    study = study if isinstance(study, BlindedStudy) else BlindedStudy(study)
    items = read_key_file(key, study.study_id)
    if set(items) != {item.code for item in study.items}:
        raise ValueError(f"key {str(key)!r} has other codes than study {study.study_id}")
    frame = _joined(study, items, answers)
    settings = {"confidence_level": confidence_level, "n_bootstrap": n_bootstrap,
                "random_state": check_random_state(random_state)}  # fmt: skip
    experts = sorted(frame["expert"].unique())
    kinds = list(dict.fromkeys(sorted(item["kind"] for item in items.values())))
    first = frame[frame["repeat"] == 0]
    yes = first.assign(yes=first["interpretable"] == "yes")
    majority = yes.groupby(["kind", "id"], sort=False)["yes"].mean().gt(0.5).reset_index()
    shares = _shares(majority, kinds, confidence_level)
    by_expert = [
        _shares(part, kinds, confidence_level).assign(expert=expert)
        for expert, part in yes.groupby("expert")
    ]
    pandas = import_optional("pandas", extra="io")
    by_expert = pandas.concat(by_expert, ignore_index=True)
    return StudyResults(
        shares=shares,
        shares_by_expert=by_expert[["expert", *shares.columns]],
        differences=_differences(shares, confidence_level),
        intra=_intra(frame, experts, settings),
        inter=_inter(first, experts, settings),
        answers=frame,
        remarks=_remarks(study, frame, shares),
        experts=experts,
        study_id=study.study_id,
        confidence_level=float(confidence_level),
    )


def _joined(study, items, answers):
    """DataFrame of all answers with what the key says."""
    pandas = import_optional("pandas", extra="io")
    files = [answers] if isinstance(answers, (str, os.PathLike)) else list(answers)
    seen: dict[str, object] = {}
    rows = []
    for file in files:
        for answer in study.answers(file):
            if seen.setdefault(answer.expert, file) != file:
                raise ValueError(
                    f"answers must have each expert in one file, got {answer.expert!r} in "
                    f"{str(seen[answer.expert])!r} and {str(file)!r}"
                )
            rows.append(items[answer.code] | answer._asdict())
    if not rows:
        raise ValueError(
            f"answers holds none to study {study.study_id}, in {', '.join(map(str, files))}; name "
            "the file that its sessions wrote"
        )
    columns = ["expert", "code", "kind", "id", "repeat", "interpretable", "name", "confidence",
               "seconds", "time"]  # fmt: skip
    # Ids of several kinds may be numbers and text.
    return pandas.DataFrame(rows, columns=columns).astype({"id": object})


def _shares(yes, kinds, confidence_level):
    """DataFrame of the interpretable share of each kind."""
    pandas = import_optional("pandas", extra="io")
    n_items = np.array([(yes["kind"] == kind).sum() for kind in kinds])
    n_yes = np.array([yes.loc[yes["kind"] == kind, "yes"].sum() for kind in kinds], dtype=int)
    share, low, high = np.full((3, len(kinds)), np.nan)
    seen = n_items > 0
    share[seen] = n_yes[seen] / n_items[seen]
    low[seen], high[seen] = wilson_interval(n_yes[seen], n_items[seen], confidence_level)
    return pandas.DataFrame({"kind": kinds, "n_items": n_items, "n_interpretable": n_yes,
                             "share": share, "low": low, "high": high})  # fmt: skip


def _differences(shares, confidence_level):
    """DataFrame of the differences of all pairs of kinds that have items."""
    pandas = import_optional("pandas", extra="io")
    shares = shares[shares["n_items"] > 0]
    kinds = shares["kind"].to_numpy().astype(str)
    entry = InterpretableShare(
        kinds=kinds,
        run_shares=[np.array([share]) for share in shares["share"]],
        confidence_level=confidence_level,
        **{name: shares[name].to_numpy() for name in ("share", "low", "high")},
    )
    rows = []
    for reference in kinds if len(kinds) > 1 else ():
        found = entry.differences(str(reference))
        for i, kind in enumerate(found.kind):
            rows.append((str(kind), str(reference), found.difference[i], found.low[i],
                         found.high[i]))  # fmt: skip
    rows = [row for row in rows if (row[0], row[1]) in set(combinations(kinds.tolist(), 2))]
    return pandas.DataFrame(rows, columns=["kind", "reference", "difference", "low", "high"])


def _intra(frame, experts, settings):
    """DataFrame of the agreement of each expert with themselves."""
    pandas = import_optional("pandas", extra="io")
    rows = []
    for expert in experts:
        own = frame[frame["expert"] == expert]
        answers = own["interpretable"].set_axis(own["kind"] + "\0" + own["id"].map(repr))
        again = own["repeat"].to_numpy() == 1
        pairs = pandas.concat([answers[~again], answers[again]], axis=1, join="inner").to_numpy(str)
        found = cohen_kappa(pairs[:, 0], pairs[:, 1], **settings)
        rows.append((expert, *(found[name] for name in _AGREEMENT)))
    return pandas.DataFrame(rows, columns=["expert", *_AGREEMENT])


def _inter(first, experts, settings):
    """DataFrame, of one row, of the agreement between experts."""
    pandas = import_optional("pandas", extra="io")
    if len(experts) < 2:
        return pandas.DataFrame(columns=["method", *_AGREEMENT])
    table = first.pivot(index="code", columns="expert", values="interpretable").dropna()
    table = table.to_numpy(dtype=str)
    if len(experts) == 2:
        method, found = "Cohen", cohen_kappa(table[:, 0], table[:, 1], **settings)
    else:
        counts = np.stack([(table == answer).sum(axis=1) for answer in ANSWERS], axis=1)
        method, found = "Fleiss", fleiss_kappa(counts, categories=ANSWERS, **settings)
    row = (method, *(found[name] for name in _AGREEMENT))
    return pandas.DataFrame([row], columns=["method", *_AGREEMENT])


def _remarks(study, frame, shares) -> list[str]:
    """What limits the numbers."""
    remarks = []
    for expert, part in frame.groupby("expert"):
        if len(part) < len(study.items):
            remarks.append(f"{expert} answered {len(part)} of {len(study.items)} items")
    for row in shares.itertuples():
        if row.n_items == 0:
            remarks.append(f"no item of {row.kind!r} was answered")
        elif row.n_items < _FEW_ITEMS:
            remarks.append(
                f"{row.kind!r} has {row.n_items} items, which are few: the interval of its share "
                f"is {row.high - row.low:.2f} wide"
            )
    return remarks


def _interval(value, row) -> str:
    return f"{value:.3f} ({row.low:.3f} to {row.high:.3f})"


def _kappa(row) -> str:
    """Kappa with its interval and number of items, or why there is none."""
    if row.reason:
        return f"kappa is not defined: {row.reason}"
    text = f"kappa {_interval(row.kappa, row)} on {row.n_items} items"
    return f"{text}; {row.remark}" if row.remark else text
