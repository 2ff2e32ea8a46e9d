"""The README's Python code runs as printed."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_readme_code():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["codes"].shape == (2280, 512)
    assert names["best"].score.max() > 0
