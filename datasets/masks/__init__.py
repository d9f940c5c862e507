"""The room of generate_masks.py: COCO annotations -> mask PNGs. Needs no torch.

painting   the regions of one image -> its label map
label_map  one image's annotations -> its label map and account
account    what became of annotations, of one image or of a folder
writer     one image's mask, made or kept
folder     masks.json, reports of shards, classes.txt
summary    the account as a person reads it, while and after
preview    an image, its mask over it, and what the colours mean
"""
