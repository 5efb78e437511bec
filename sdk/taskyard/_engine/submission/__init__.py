"""From a call of a task to a submitted run: the place it is made from, its arguments and its template."""
