r"""``genspec train``: the reference models on real images, at a size that a laptop trains in minutes.

Nothing here judges: the claims do. Training shows that a reference learns, and what it learns to draw.
"""
