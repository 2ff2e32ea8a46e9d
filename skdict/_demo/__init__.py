"""The evaluation behind ``skdict demo``: whitening off and on, four models, several seeds.

Read in this order: `_metrics` (which numbers), `_experiment` (how they are measured), `_results`
(how they are kept), `_verdict` (what they allow to say), `_table` and `_page` (how it is shown),
`_concepts` (what single features stand for).
"""

from skdict._demo._experiment import QUICK, Settings
from skdict._demo._page import demo_page
from skdict._demo._run import run
from skdict._demo._table import text_report

__all__ = ["QUICK", "Settings", "demo_page", "run", "text_report"]
