"""Backups: made beside the service, verified, and restored so that nothing goes back unseen."""
