"""A PIV smartcard in software, in a virtual PC/SC reader that no other program can see.

`card_file` keeps a card on disk, `piv` and `apdu` are its operating system (pure), `vpcd`
and `runner` connect it to a pcscd inside namespaces of its own, and `reader.VirtualReader` is
what tests and the demonstration start.
"""
