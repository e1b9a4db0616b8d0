"""The tamga command."""
