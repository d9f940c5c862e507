"""python -m datasets.sample: draws a small COCO-format dataset.

__main__  the command: images and annotation files, whole or absent
scene     a picture of figures that hide each other, and COCO's annotations of it
"""
