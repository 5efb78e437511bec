"""A program's world: what it has around it, and what its workers need to have of that."""
