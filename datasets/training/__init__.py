"""The room of train.py: images and masks -> batches of tensors.

data          the pairs of both splits, found and checked; the table of labels
dataset       CocoSegmentationDataset: pairs of files -> pairs of tensors at one size
choices       SAMPLERS and AUGMENTS, by name
augmentation  augmented samples by draw
cache         decoded and resized pairs, kept in a file
batches       which images an epoch shows, in which batches; the loaders
"""
