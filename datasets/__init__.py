"""What a pixel's label means, and where pixels come from.

Each command has one room here; rooms never import each other. They stand on the shared floor:

    labels         Label, LabelSet, IGNORE_INDEX: what a pixel value means
    label_sets     the sets to choose from: nine groups, VOC, binary, a label a category, a file's
    label_mapping  what the masks of a folder mean: masks.json, or a look at their values
    mask_files     mask PNGs: written, read, counted, and the stamp they carry
    images         which files of a folder are images
    pairs          which mask belongs to which image
    inspection     pairs looked at, and what was good remembered; the kinds of problems
    mask_checks    what is wrong with images and masks, before training and before scoring
    visualize      label maps for the eye: colours, overlays, names, legends
    coco           COCO's own formats, read and written

The rooms:

    masks          of generate_masks.py
    training       of train.py
    predictions    of inference.py
    download       python -m datasets.download: brings COCO 2017, whole or in part
    sample         python -m datasets.sample: draws a small COCO-format dataset

This file imports nothing, so that generate_masks.py never loads torch.
"""
