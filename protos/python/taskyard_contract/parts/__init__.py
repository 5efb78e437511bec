"""What code is made of, apart from how cloudpickle writes it."""
