"""Changes to the user's files: keywords in them, and where they are; each can be taken back."""
