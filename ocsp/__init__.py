"""From a certificate and a time to evidence about its path and its status."""
