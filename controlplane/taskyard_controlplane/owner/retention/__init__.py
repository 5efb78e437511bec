"""What is removed after a while: runs that are over, what is about them, and blobs that nobody refers to."""
