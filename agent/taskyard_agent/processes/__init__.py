"""Where runs execute: the pool of warm worker processes."""
