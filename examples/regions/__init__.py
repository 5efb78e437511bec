"""Sales of several regions, by one flow for each; see `__main__`."""
