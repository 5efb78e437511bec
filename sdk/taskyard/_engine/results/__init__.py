"""Results in storage that users choose: where, as what, and how they are read again."""
