"""What the server does with what it may see."""
