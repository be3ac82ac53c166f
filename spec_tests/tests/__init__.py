"""Tests of the judge itself: a bug in genspec is a false verdict about somebody's code."""
