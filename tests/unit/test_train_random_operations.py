"""RandAugment: what its magnitude does, and that a batch's images are not all changed alike."""

import pytest
import torch
from kornia.augmentation.auto import RandAugment
from torch.nn import functional as F

from edgekit.train.augment import NONE, Augmentation, augment
from edgekit.train.mixing import policy_of, random_operations


def test_random_operations_vary_and_repeat():
    pixels = torch.randint(0, 256, (6, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    how = Augmentation(flip=False, zoom=0.0, randaugment=2)

    def once(seed):
        torch.manual_seed(seed)
        return augment(pixels, (32, 32), how, torch.Generator().manual_seed(seed))

    with torch.random.fork_rng(devices=[]):
        first = once(1)
        assert torch.equal(first, once(1))
        assert not torch.equal(first, once(2))
    assert first.shape == (6, 3, 32, 32) and first.min() >= 0 and first.max() <= 255
    assert not torch.equal(first, augment(pixels, (32, 32), NONE, torch.Generator()))


def changed_by(operation, magnitude, image):
    """How far one of RandAugment's operations takes an image from what it was: mean absolute difference in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (RandAugment(1, magnitude, [operation])(image).clamp(0, 1) - image).abs().mean().item()


@pytest.mark.parametrize("direction", [-1, 1])
def test_a_larger_magnitude_changes_images_more(direction):
    """Of all operations that have one; what the smallest does is hardly seen."""
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    image = F.interpolate(coarse, (48, 48), mode="bilinear")
    policies = [policy_of(magnitude, direction) for magnitude in (1, 10, 29)]
    assert len(policies[0]) == 13
    for entries in zip(*policies, strict=True):
        name = entries[0][0][0]
        small, middle, large = map(changed_by, entries, (1, 10, 29), [image] * 3)
        if name not in ("auto_contrast", "equalize"):
            assert small <= middle <= large and small < 0.05 and large > 2 * small, name


def test_random_operations_make_images_lighter_as_often_as_darker():
    grey = torch.full((4, 3, 8, 8), 0.5)
    means = [one for sign in (-1, 1) for one in policy_of(15, sign) if one[0][0] == "brightness"]
    assert len(means) == 2
    found = sorted(RandAugment(1, 15, [policy])(grey).mean().item() for policy in means)
    # Kornia adds what its factor is more than 1.
    assert found == pytest.approx([0.5 - 0.45, 0.5 + 0.45], abs=1e-5)


def test_images_of_a_batch_are_varied_in_several_ways():
    images = torch.full((16, 3, 8, 8), 127.5) + torch.linspace(-60, 60, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        varied = random_operations(images, 1, 15)
    assert len({tuple(image.flatten().tolist()) for image in varied}) >= 3
