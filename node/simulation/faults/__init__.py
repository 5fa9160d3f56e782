"""What goes wrong in a run, and when.

`profiles.py`: the names of all, and the script of a run · `links.py`, `nodes.py`: faults ·
`populations.py`: what there is beside them · `extremes.py`: beyond what is promised · `rhythm.py`:
when · `disturbances.py`: what is done to links.
"""
