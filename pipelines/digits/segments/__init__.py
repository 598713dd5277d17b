"""The segments of the digits pipeline: a small, real machine-learning system.

    ingest -> features -> baseline -> serve <- monitor
                 |            |
                 |            +-----> evaluate
                 +---------> train

Each module holds the callables that `pipeline.yaml` names, and nothing imports more than its own
segment needs: serving loads numpy alone, because importing scikit-learn would take longer than
all the rest of its start. Segments meet only on the shelves of `shelf.py`.
Read next: `shelf.py` (how a result becomes visible), `learning.py` (who makes models).
"""
