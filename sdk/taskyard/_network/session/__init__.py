"""A session: the stream over which this process submits runs and hears what became of them."""
