"""Who is who: certificates of a cluster's own CA, and TLS with them.

`identity.py`: names in certificates, and the verdict on one · `certificates.py`: a CA, issuing,
reading · `inspection.py`: what is wrong with one, for people · `contexts.py`: a node's files now,
`renewal.py` and `rotation.py`: how its certificate, and its CA, are replaced · `handshake.py`,
`accepting.py`: TLS, and why it fails · `foreign_devices.py`: devices of another CA · `trust.py`:
whom clients and devices trust. And who may what: `tokens.py`: the
text of a token · `authorisation.py`: the rights of roles, route by route · `invitations.py`: the
word by which a machine is invited · `registrar.py`: what it is given · `credentials.py`: what
programs and devices show, and whom they trust.
"""
