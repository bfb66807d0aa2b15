"""How the model does, each number with its support."""
