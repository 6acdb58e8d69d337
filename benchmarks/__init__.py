"""How fast the parts are: one module a question, each a command (``python -m benchmarks.engine --json``).

Ratios are measured side by side in one run, since a shared machine is never twice the same. ``make bench`` runs all.
How accurate the whole is on pictures that the repository does not hold, `benchmarks.accuracy` measures.
"""
