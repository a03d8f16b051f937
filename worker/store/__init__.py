"""The meaning of rows. Rows are the truth: what is not in one did not happen, and what is in one will be done."""
