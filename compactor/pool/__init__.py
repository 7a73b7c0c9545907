"""Unlabelled images as they are chosen for training: what copies the references, or each other, is found here."""
