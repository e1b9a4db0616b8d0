"""What is signed, by which key, for whom."""
