"""Our own language: what a job is, how it moves, when it is tried again, where its files go, what is told of it.

Pure: values in, values out. No clock is read here (`now` is passed in), nothing is sent, nothing is stored.
What the provider says in its own words belongs in `worker.kling`; what a row looks like in `worker.store`.
"""
