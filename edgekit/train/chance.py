"""Whether labelled images tell a network from one that does not look at them."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Quantile of the normal distribution.
ONE_SIDED_95 = 1.645


def is_like_chance(correct: Sequence[int], images: Sequence[int]) -> bool:
    """Whether they cannot.

    The recalls of a network that does not look at its input add up to one over the classes, however it answers. To be
    told from it, the sum must be larger, one-sided with 95 % confidence. A recall's variance is that of a binomial
    share after one more success and one more failure (Laplace), so that 0 of 20 is not taken for certain.

    Args:
        correct: Images of each class that were called by its name.
        images: Of each class.
    """
    pairs = [(right, count) for right, count in zip(correct, images, strict=True) if count]
    shares = [((right + 1) / (count + 2), count) for right, count in pairs]
    variance = sum(share * (1.0 - share) / count for share, count in shares)
    return len(pairs) > 1 and sum(right / count for right, count in pairs) <= 1.0 + ONE_SIDED_95 * math.sqrt(variance)
