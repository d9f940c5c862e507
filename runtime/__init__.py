"""What the commands ask of the operating system. Imports nothing of this project.

files       writes that are whole or absent
workers     a function mapped over many items by worker processes, in order
"""
