"""Large values: how they lie in files, so that their buffers are written and read without a copy."""
