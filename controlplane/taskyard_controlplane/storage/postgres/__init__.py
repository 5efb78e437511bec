"""The store on PostgreSQL: one owner at a time, by a lease on a row."""
