"""What the example names; never run."""


def ingest(ctx):
    raise NotImplementedError(ctx)


def serve(ctx):
    raise NotImplementedError(ctx)
