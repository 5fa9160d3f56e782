"""A node's configuration file: read once at start, every error reported with its line.

`node_config.py`: the whole · a module for each section that is made of several fields ·
`yaml_document.py`: values that know their line · `shell.py`: commands.
"""
