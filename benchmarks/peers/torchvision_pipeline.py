"""The peer of the data pipeline: torchvision's transforms on PIL images, as most scripts use them."""

from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torchvision import transforms


def images_per_s(images: np.ndarray, *, batch: int) -> float:
    """Pad-crop, flip and convert uint8 images [N, H, W, 3] into batches on this thread."""
    height = images.shape[1]
    steps = [
        transforms.RandomCrop(height, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
    augment = transforms.Compose(steps)
    started = perf_counter()
    for start in range(0, len(images), batch):
        torch.stack([augment(Image.fromarray(image)) for image in images[start : start + batch]])
    return len(images) / (perf_counter() - started)
