"""The election, receipt and log routes."""
