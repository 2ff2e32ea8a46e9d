"""The README's Python code runs as printed."""

import re
from pathlib import Path

import numpy as np
from sklearn.base import clone

from skdict.metrics import best_features

README = Path(__file__).resolve().parents[1] / "README.md"


def test_readme_code():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 10
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    wells, codes, best = names["wells"], names["codes"], names["best"]
    treated = ~wells.control
    assert codes.shape == (np.count_nonzero(treated), 512) == (2136, 512)
    # Every compound, and the controls neither as a label nor as rows.
    assert set(best.labels) == set(wells.compound[treated])
    assert len(best.labels) == 90 and "DMSO" not in best.labels
    assert best.n_samples.sum() == 2136
    # Learned concepts are clearly more selective than atoms that were never trained.
    random = clone(names["pipeline"]).set_params(icfldictionary__max_steps=0)
    random.fit(wells.data, controlpcawhitener__control=wells.control)
    chance = best_features(random.transform(wells.data[treated]), wells.compound[treated])
    assert best.score.mean() > 1.15 * chance.score.mean()
