"""What follows a commit: promises are kept, effects performed, and what was refused is taken back."""
