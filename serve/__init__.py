"""What runs inside the serving image: a supervisor, multi-model-server, and the handler that answers."""
