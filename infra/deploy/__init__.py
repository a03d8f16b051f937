"""What a platform needs to run the processes."""
