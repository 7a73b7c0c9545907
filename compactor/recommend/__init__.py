"""`compactor recommend`: try methods and learning rates for a while, keep the best third, try it for longer.

Successive halving (Jamieson and Talwalkar, arXiv 1502.07943) with a third in the place of a half. Each trial
is the recipe with another last stage, planned, trained and cached as any stage is. Everything is decided on
select; the report split is sealed. `search.py` runs it, `candidates.py` says what is tried.
"""
