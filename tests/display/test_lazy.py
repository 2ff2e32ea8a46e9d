"""Displays compute without matplotlib and leave its settings alone."""

import subprocess
import sys


def test_matplotlib_is_loaded_late_and_its_settings_stay():
    code = """
import sys
from skdict.display import AtomUsageDisplay
display = AtomUsageDisplay.from_codes([[1.0, 0.0]], plot=False)
assert "matplotlib" not in sys.modules
import matplotlib
before = dict(matplotlib.rcParams)
display.plot()
assert dict(matplotlib.rcParams) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
