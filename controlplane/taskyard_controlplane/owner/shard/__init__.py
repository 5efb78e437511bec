"""The runs of one shard: the rooms below put together, and rebuilt from the database."""
