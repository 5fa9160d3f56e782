"""Who is who: certificates of a cluster's own CA, and TLS with them.

`identity.py`: names in certificates, and the verdict on one · `certificates.py`: a CA, issuing,
reading · `inspection.py`: what is wrong with one, for people. And who may what: `tokens.py`: the
text of a token · `authorisation.py`: the rights of roles, route by route · `invitations.py`: the
word by which a machine is invited · `registrar.py`: what it is given · `credentials.py`: what
programs and devices show, and whom they trust.
"""
