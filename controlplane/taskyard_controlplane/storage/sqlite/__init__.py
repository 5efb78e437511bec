"""The store on SQLite: one process, one file, one connection that writes."""
