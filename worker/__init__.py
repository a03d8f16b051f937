"""The work: everything that decides or does. It stands on `infra` and knows nothing of the door above it."""
