"""The server of the page in the browser: who may ask, what is answered, what is started and stopped."""
