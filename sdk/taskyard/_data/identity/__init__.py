"""What makes two values, or two pieces of code, the same: in every process, and in the next program, too."""
