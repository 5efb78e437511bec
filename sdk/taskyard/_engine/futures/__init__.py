"""Results that may not exist yet: waiting for them, alone, in sets and inside other values."""
