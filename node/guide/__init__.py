"""The guide: Markdown pages of the package, served by every node and shown by `stationkeep guide`.

A file is a topic, named as the file without `.md`, also where it lies in `reference/`. `pages` finds
and reads them; `rendering` makes HTML of them and is imported when the first page is asked for,
since a node that nobody asks shall not hold a Markdown parser in memory.
"""
