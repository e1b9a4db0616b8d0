"""Reproducible software tokens, a development PKI and a virtual smartcard."""
