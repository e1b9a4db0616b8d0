"""From a challenge and a Web eID token to an authenticated citizen."""
