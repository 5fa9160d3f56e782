"""How a device carries out what it is told to do, and is believed when it says what became of it.

book        what is remembered of tasks: a value
machine     what happened in, the next book out: all the rules
carrier     keeps each book, does what it says, tells nodes how it goes
spool       the directory that survives crashes
phases      download, verify, wait; `commands` and `handler` install
download    a file over any number of broken connections; `signature`: whose it is
command     how operators' commands are run; `processes`: how all that they started ends
"""
