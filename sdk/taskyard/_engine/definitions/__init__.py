"""What a decorated function is, before anybody calls it: options, signature, importable code."""
