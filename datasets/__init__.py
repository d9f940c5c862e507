"""What a pixel's label means, and where pixels come from.

label_set     Label, LabelSet, the nine groups, IGNORE_INDEX
annotations   COCO JSON -> images, categories, annotations by image
runs          COCO segmentations -> runs of pixels, vetted
painting      the regions of one image -> its label map
masks         mask PNGs, written and read
segmentation  CocoSegmentationDataset: (image, label_map) pairs; label mapping; label counts
transforms    paired transforms of image and label map
sampling      class-balanced sampling
visualize     colours, overlays and panels for the eye
sample        python -m datasets.sample: draws a small COCO-format dataset

Imports nothing, so that generate_masks.py never loads torch.
"""
