"""Talks to one PKCS#11 token and knows nothing else."""
