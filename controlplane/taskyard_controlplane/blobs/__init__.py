"""The store of blobs: bytes that are too large for the database, which only keeps their names."""
