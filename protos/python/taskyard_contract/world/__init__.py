"""A program's world: what it has around it, and what other processes need to have of it to execute its runs."""
