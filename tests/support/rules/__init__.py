"""Which rules hold for programs, and which tests hold them: read from the names of the tests."""
