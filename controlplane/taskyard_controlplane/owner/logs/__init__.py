"""What runs log on its way to the log store, beside the commits."""
