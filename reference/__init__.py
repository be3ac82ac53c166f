"""Minimal, readable reference implementations of deep generative models, in PyTorch alone.

Each file holds one idea: the mathematics as pure functions, and modules that own nothing but
parameters. Nothing here knows of the tests that judge it; import the family that you need.
"""
