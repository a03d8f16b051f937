"""One verb a file: a plain function that takes what it needs by name, safe to repeat and to race.

Each reads its row anew and ends by moving it, or by saying when it wants attention again.
"""
