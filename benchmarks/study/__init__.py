"""The study: the tables and figures of the ICFL paper, on data that anyone can have.

``python -m benchmarks.study`` computes what is missing from its cache, judges every claim by a
stated rule, and writes results, pictures and the page ``docs/study.rst``. Start with `stages`
(what is computed), `evaluate` (how one dictionary is judged) and `verdicts` (the rules).
"""
