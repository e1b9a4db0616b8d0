"""The login routes."""
