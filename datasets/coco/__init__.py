"""COCO's own formats. Needs no torch.

json_index        where the objects of a large JSON file stand
records           ids, and the entries of images and categories, vetted
annotations       COCO JSON, of one file or several -> images, categories, annotations by image
image_files       where an image's file is, and whether it is as annotated
segmentations     polygons and run-length encodings -> runs of pixels, vetted
results           masks on disk -> COCO results
"""
