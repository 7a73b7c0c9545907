"""Inputs as people have them, what must come out of each, and what came out: the table behind `inputs`.

One file a kind of input. All inputs are made at run time; `cases.py` says what a case is, `toys.py` makes
what several share.
"""
