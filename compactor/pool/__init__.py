"""Unlabelled images as they are chosen for training: what copies references, or each other, is found."""
