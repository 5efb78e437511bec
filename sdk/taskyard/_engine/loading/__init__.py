"""Flows taken out of files and modules that this program has not imported itself."""
