"""The guide: Markdown files, served by every node and shown by `stationkeep guide`.

A file is a topic, named as the file without `.md`, also where it lies in `reference/`. `pages`
finds and reads them; `rendering` makes HTML of them and is imported when the first page is asked
for, so that a node which nobody asks does not hold a Markdown parser in memory.
"""
