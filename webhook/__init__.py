"""The door: HTTP and a terminal come in, a row and a message go out. It never waits for Kling."""
