"""The room of train.py: images and masks -> batches of tensors.

data          the pairs of both splits, found and checked; the table of labels
pairs         which mask belongs to which image
checks        what is wrong with images and masks, before training
inspection    one pair looked at; the kinds of problems
counts        pixel values of masks, kept between runs
dataset       CocoSegmentationDataset: pairs of files -> pairs of tensors at one size
augmentation  AUGMENTS, and augmented samples by draw
cache         decoded and resized pairs, kept in a file
batches       which images an epoch shows, in which batches; the loaders
"""
