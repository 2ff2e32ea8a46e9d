"""A blinded study: concepts beside neurons, factors and random directions, kinds hidden."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sklearn.utils import check_random_state

from skdict._validation import check_integer
from skdict.display._files import check_writable, write_together
from skdict.explorer._blinded_answers import StudyAnswer, StudySession, read_answers
from skdict.explorer._blinded_files import (
    KEY_FORMAT,
    STUDY_FORMAT,
    VERSION,
    json_bytes,
    read_study_file,
)
from skdict.explorer._blinded_order import drawn_items, neutral_codes, presentation_order
from skdict.explorer._notes_bundle import bundle_fingerprint

_QUESTION = "Do these examples show one thing that you can name?"


class StudyItem(NamedTuple):
    """What an expert is shown, without its kind.

    Parameters
    ----------
    code : str
        Digits that say nothing.
    examples : tuple of int
        Samples that activate it most, in random order; empty if the study was made from ids.

    Examples
    --------
    >>> from skdict.explorer import StudyItem
    >>> StudyItem("4821", (7, 3)).examples
    (7, 3)
    """

    code: str
    """Digits that say nothing."""
    examples: tuple[int, ...]
    """Samples that activate it most, in random order."""


class BlindedStudy:
    """What experts are asked, read from the study file; it knows no kinds.

    Parameters
    ----------
    path : str or path-like
        The study file that :func:`make_blinded_study` wrote.

    Attributes
    ----------
    study_id : str
        Number of the study; its key and its answers have the same.
    title, question : str
        What stands above each item.
    bundle : str
        Fingerprint of the bundle that the examples are samples of; empty if not known.
    items : tuple of StudyItem
        The items in the order in which they are shown.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no study.

    See Also
    --------
    study_results : What came out.

    Examples
    --------
    See :func:`make_blinded_study`.
    """

    def __init__(self, path):
        content = read_study_file(path)
        self.study_id: str = content["study"]
        self.title: str = content["title"]
        self.question: str = content["question"]
        self.bundle: str = content["bundle"]
        self.items = tuple(
            StudyItem(item["code"], tuple(item["examples"])) for item in content["items"]
        )

    def session(self, expert: str, answers_path) -> StudySession:
        """Begin or resume the study for an expert.

        Parameters
        ----------
        expert : str
            Who answers.
        answers_path : str or path-like
            SQLite file of the answers, of several experts and studies if you like; made where
            there is none.

        Returns
        -------
        StudySession
            It goes on with the first item that has no answer.
        """
        return StudySession(self, expert, answers_path)

    def answers(self, answers_path) -> list[StudyAnswer]:
        """Latest answers of all experts, by expert and in the order of the study.

        Parameters
        ----------
        answers_path : str or path-like
            SQLite file of the answers.

        Returns
        -------
        list of StudyAnswer
            One for each expert and item answered.
        """
        return read_answers(self, answers_path)

    def __repr__(self):
        """Number and size."""
        return f"BlindedStudy({self.study_id}, {len(self.items)} items)"


def make_blinded_study(
    path, items, *, key_path, n_per_kind=20, n_repeats: int = 10, n_examples: int = 12,
    title: str = "", question: str = _QUESTION, bundle=None, random_state=None,
    overwrite: bool = False,
) -> BlindedStudy:  # fmt: skip
    """Mix concepts with what they have to beat, under codes that say nothing.

    An expert who finds a name for 8 of 10 concepts may find one for 8 of 10 random directions
    too. So items of all kinds are shown in one random order without their kinds, each as the
    samples that activate it most, and some are shown twice, far from each other and under another
    code, to see whether the same expert says the same again.

    Parameters
    ----------
    path : str or path-like
        The study file to write, JSON: codes and examples.
    items : dict of str to array, sparse matrix or sequence of ids
        For each kind ("concept", "neuron", "pca", "random", ...) activations, shape (n_samples,
        n_items), of the same samples in all kinds; or ids (int or str) if the caller finds the
        examples itself. Only items that at least `n_examples` samples activate (greater than 0)
        are drawn, so that the number of examples does not tell the kind. The negative side of a
        neuron is an item of its own: pass ``-X``.
    key_path : str or path-like
        The key to write, JSON: kind and id of each code. Keep it from the experts, and from the
        program that serves the study; only its owner may read the file.
    n_per_kind : int, dict of str to int, or None, default=20
        Number of items drawn from each kind; None takes all.
    n_repeats : int, default=10
        Number of items that are shown twice, drawn from all kinds alike.
    n_examples : int, default=12
        Number of samples of each item.
    title : str, default=""
        What stands above the study. It must not name a kind.
    question : str
        What is asked of each item. It must not name a kind.
    bundle : Bundle, str or None, default=None
        The bundle that the samples are of, or its fingerprint.
    random_state : int, RandomState instance or None, default=None
        Draws items, order and codes, not the number of the study. It is not written anywhere; who
        knows it knows the key.
    overwrite : bool, default=False
        Replace files that are there. Answers to a study are worth nothing without its key.

    Returns
    -------
    BlindedStudy
        The study as read back.

    Raises
    ------
    OSError
        If a file is there already or cannot be written; both are written or none.
    TypeError
        If `items` is no dict.
    ValueError
        If a kind has too few items, or title or question name a kind.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdict.explorer import make_blinded_study, study_results
    >>> folder = tempfile.TemporaryDirectory()
    >>> rng = np.random.default_rng(0)
    >>> items = {"concept": rng.random((50, 30)), "random": rng.random((50, 30))}
    >>> study = make_blinded_study(
    ...     f"{folder.name}/study.json", items, key_path=f"{folder.name}/key.json",
    ...     n_per_kind=2, n_repeats=1, random_state=0,
    ... )
    >>> with study.session("anna", f"{folder.name}/answers.sqlite") as session:
    ...     while (item := session.next()) is not None:
    ...         _ = session.answer(item.code, "yes" if 7 in item.examples else "no")
    >>> results = study_results(
    ...     study, f"{folder.name}/key.json", f"{folder.name}/answers.sqlite", random_state=0
    ... )
    >>> results.shares[["kind", "n_items"]].to_numpy().tolist()
    [['concept', 2], ['random', 2]]
    >>> folder.cleanup()
    """
    path, key_path = Path(path), Path(key_path)
    check_integer("n_repeats", n_repeats, 0)
    check_integer("n_examples", n_examples, 1)
    _check_paths(path, key_path, overwrite)
    rng = check_random_state(random_state)
    drawn = drawn_items(items, n_per_kind, n_examples, rng)
    _check_neutral(items, title=title, question=question)
    if n_repeats > len(drawn):
        raise ValueError(
            f"n_repeats must be at most the number of items, {len(drawn)}, got {n_repeats}"
        )
    order = presentation_order(len(drawn), rng.choice(len(drawn), n_repeats, replace=False), rng)
    codes = neutral_codes(len(order), rng)
    # no part of the seed: two studies of one seed must not share answers
    study_id = f"{secrets.randbelow(10**16):016d}"
    shown, key, seen = [], [], set()
    for code, place in zip(codes, order):
        item = drawn[place]
        examples = rng.permutation(item["examples"] or []).astype(int).tolist()
        shown.append({"code": code, "examples": examples})
        key.append({"code": code, "kind": item["kind"], "id": item["id"],
                    "repeat": int(place in seen)})  # fmt: skip
        seen.add(place)
    head = {"version": VERSION, "study": study_id}
    about = {"title": title, "question": question, "bundle": bundle_fingerprint(bundle)}
    study_file = {"format": STUDY_FORMAT} | head | about | {"items": shown}
    key_file = {"format": KEY_FORMAT} | head | {"items": key}
    write_together({path: json_bytes(study_file), key_path: json_bytes(key_file)})
    with suppress(OSError):  # some file systems have no such rights
        key_path.chmod(0o600)
    return BlindedStudy(path)


def open_blinded_study(path) -> BlindedStudy:
    """Read a study file; the key is not needed to answer.

    Parameters
    ----------
    path : str or path-like
        What :func:`make_blinded_study` wrote.

    Returns
    -------
    BlindedStudy
        The study.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no study.
    """
    return BlindedStudy(path)


def _check_paths(path: Path, key_path: Path, overwrite: bool) -> None:
    if path.absolute() == key_path.absolute():
        raise ValueError(f"key_path must be another file than path, got {str(key_path)!r} twice")
    for name, file in {"path": path, "key_path": key_path}.items():
        check_writable(file)
        if file.exists() and not overwrite:
            raise FileExistsError(
                f"{name} {str(file)!r} is there already; choose another, or pass overwrite=True "
                "(answers to the study that is there are then worth nothing)"
            )


def _check_neutral(kinds, **texts) -> None:
    """Raise if a text that experts see names a kind."""
    for name, text in texts.items():
        for kind in kinds:
            if re.search(rf"\b{re.escape(kind)}(s|es)?\b", text, re.IGNORECASE):
                raise ValueError(
                    f"{name} must not name a kind, got {text!r} with {kind!r}: experts would know "
                    "what to expect; use other words"
                )
