"""What a user names → a lazy stream of inputs."""
