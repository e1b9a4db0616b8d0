"""A PIV smartcard of our own, in a virtual PC/SC reader."""
