"""Choose unlabelled images that teachers know well: scored, freed of copies, the best of each class.

What a pool is on disk, and its reader, are in compactor/data/pool_file.py.
"""
