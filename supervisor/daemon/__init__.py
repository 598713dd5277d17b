"""The processes behind one running pipeline: the heart, and the daemon it keeps alive.

`heart.py` is a tiny parent that only starts the daemon again when it dies. `service.py` is one
life of the daemon: claim the pipeline, boot or restore the tree, drive it, leave orderly.
`parcel.py` carries the pipeline and its environment between the two, in memory only; `wakeup.py`
is the doorbell that a request rings. Nothing here decides what happens to a segment: the core does.
"""
