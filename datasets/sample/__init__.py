"""python -m datasets.sample: draws a small COCO-format dataset.

__main__  the command
dataset   images and annotation files
scene     a backdrop, and objects that hide each other
figures   outlines, colours and textures of the objects
"""
