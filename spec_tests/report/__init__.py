"""What people read of a run: the terminal, ``verdicts.jsonl``, ``junit.xml`` and ``index.html``."""
