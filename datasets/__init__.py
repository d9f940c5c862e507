"""What a pixel's label means, and where pixels come from.

For generate_masks.py, without torch:
    label_set          Label, LabelSet, the nine groups, IGNORE_INDEX
    label_set_file     a label set by name, or from a JSON file that a person wrote
    json_index         where the objects of a large JSON file stand
    records            ids, and the entries of images and categories, vetted
    annotations        COCO JSON -> images, categories, annotations by image
    image_files        where an image's file is, and whether it is as annotated
    run_length         run-length encodings -> runs of pixels, vetted
    runs               COCO segmentations -> runs of pixels, vetted
    painting           the regions of one image -> its label map
    drawing            the annotations of one image -> its label map, and an account
    masks              mask PNGs, written and read
    mask_writer        one image's mask, made or kept
    mask_folder        the folder's own files: masks.json, reports of shards, classes.txt
    mask_report        masks.json
    mask_summary       masks.json as a person reads it
    visualize          colours, overlays and panels for the eye
    preview            an image, its mask over it, and what the colours mean
    sample             python -m datasets.sample: draws a small COCO-format dataset
    sample_scene       its scenes: a backdrop, and objects that hide each other
    sample_figures     its objects: outlines, colours, textures

For train.py:
    training_data      the pairs of both splits, found and checked
    pairs              images and masks, paired by name
    label_mapping      pixel values of masks -> label indices
    checks             what is wrong with images and masks, before training
    problems           the kinds of problems, and what to do about each
    inspection         one image and its mask, looked at
    counts             pixel values of masks, kept between runs; the table of labels
    segmentation       CocoSegmentationDataset: (image, label_map) pairs
    transforms         paired transforms of image and label map, augmentation too
    augmentation       AugmentedDataset: augmented samples by draw
    cache              decoded and resized pairs, kept in memory or in a file
    sampling           which images an epoch shows, class-balanced or shuffled, in which batches
    loading            batches to train on, to be scored by and to show

For inference.py:
    photo_files        which files to segment, and what their outputs are called
    photos             whatever people have in their folders, read
    truth              masks to score against, labels matched by name
    prediction_run     many photos through reading, the network and writing
    prediction_folder  an image's outputs, written or kept
    prediction_reports predictions.json of runs and shards, scores
    coco_results       masks on disk -> COCO results
    legend             what the colours of a picture mean

This file imports nothing, so that generate_masks.py never loads torch.
"""
