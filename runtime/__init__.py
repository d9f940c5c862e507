"""What the commands ask of the operating system. Imports nothing of this project.

bar           how far something is, on a terminal and in a log
command_line  how the commands show their help, check numbers, and end
devices       device, precision, and the processes of one job (imports torch)
files         writes that are whole or absent
interrupts    signals that ask to stop, obeyed or noted
locks         one process at a time
run_folder    where the files of a training run are, and its small ones
setup.sh      makes .venv, for pipeline.sh and the tests
shards        which part of the work is this process's
workers       a function mapped over many items by worker processes or a pool, in order
"""
