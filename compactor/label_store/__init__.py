"""The label store: what teachers said of recorded views, written once, trained from as often as wanted.

A store is a folder. `store.json` (written last: a folder without it is no finished store) says who labelled
what and how; each part (train, select, report) has the sample ids and shards of fixed-size records, plain
.npy files that are memory-mapped and hold no pickle. One record is one view of one sample: a box, a flip and,
for each head, the compressed soft label (`quantization.py`).
"""
