"""How the tables came to be, step by step. Each step is safe while the version before it still serves."""
