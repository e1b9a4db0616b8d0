"""The pages a citizen sees."""
