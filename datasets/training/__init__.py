"""The room of train.py: images and masks -> batches of tensors.

data          the pairs of both splits, found and checked; the table of labels
settings      the flags as a run keeps them, and goes on with them
dataset       CocoSegmentationDataset: pairs of files -> pairs of tensors
choices       SAMPLERS and AUGMENTS, by name
augmentation  augmented samples by draw; random crops of photographs at their own shape
cache         decoded and resized pairs, kept in a file
batches       which images an epoch shows, in which batches; the loaders
"""
