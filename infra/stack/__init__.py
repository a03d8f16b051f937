"""The embedded servers (PostgreSQL, Redis, S3) and the processes of the Procfile on them, for a laptop and for tests.

Real servers, no root, no Docker. Nothing here imports the emulator, the worker or the door: it starts processes.
"""
