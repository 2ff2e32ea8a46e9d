"""The study of genes: the findings of the paper on single-cell concepts, on data at hand.

``python -m benchmarks.study_genes`` computes what is missing from its cache, judges every claim by
a stated rule, and writes results, pictures, tables and the page ``docs/study_genes.rst``. Start
with `settings` (what was fixed beforehand), `kinds` (what is computed) and `sections` (the claims).
"""
