"""Loads the plugin; everything else is in `spec_tests/plugin.py`."""

pytest_plugins = ["spec_tests.plugin"]
