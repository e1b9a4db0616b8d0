"""Health and the API description."""
