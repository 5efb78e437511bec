"""What workers need of this program: its ``__main__``, its import path, directory and variables."""
