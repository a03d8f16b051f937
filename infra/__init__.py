"""The ground: how bytes move, and how it is put under our feet.

Nothing here knows what a job or a task of Kling is, and nothing here imports from `worker` or `webhook`.
"""
