"""What programs in different languages agree on beyond messages: encodings, JSON, failures in words."""
