r"""``tox -e bench``: what the references and the harness cost, as ratios measured in one run.

Each row times two things turn by turn and gives the ratio of their least processor times, so that a
slow or busy machine changes both sides alike. Nothing here passes or fails.
"""
