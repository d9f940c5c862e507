"""The room of inference.py: photos -> masks, overlays, scores. Needs no torch.

outputs      what a prediction folder holds: OUTPUTS, a row an output of each photo
photo_files  which files to segment, and what their outputs are called
photos       whatever people have in their folders, read
pipeline     many photos through reading, network and writing at once
folder       an image's outputs, written or kept
report       predictions.json of runs and shards
truth        masks to score against, labels matched by name
"""
