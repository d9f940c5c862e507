"""python -m datasets.download: brings COCO 2017, whole or in part.

__main__  the command: annotation files and photographs, each checked
server    files and archives of a web server, continued where they were cut off
"""
