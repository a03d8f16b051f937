"""The door: HTTP and a terminal come in, a row and a message go out. It never waits for Kling."""

#: As pyproject.toml says it. A platform that installs what Reelhook needs, and not Reelhook, has no metadata to ask.
VERSION = "0.1.0"
