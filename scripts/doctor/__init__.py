"""`byoc doctor`: what could go wrong, looked at before it does. One check a file; none changes anything."""
