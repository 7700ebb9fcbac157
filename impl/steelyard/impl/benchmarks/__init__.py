"""Our functions beside those of the libraries that are installed, and beside what the machine can do at all.

`steelyard bench` runs it. One file a family of cases; `case` says what a case is, `measuring` how one is timed,
`running` in which order and how long, `growth` how time grows with the size.
"""
