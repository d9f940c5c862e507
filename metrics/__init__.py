"""How good predictions are: one confusion matrix over a whole data set, and functions of it.

confusion_matrix   counts[true, predicted], exact and additive
scores             SCORES: IoU, Dice and accuracy from the counts; the reports of them
evaluation         a model over a loader, or masks on disk -> losses and counts of all images
record             what an epoch found: metrics.csv, report.json, TensorBoard, pictures, remarks
curves             python -m metrics.curves: metrics.csv of one or more runs as a picture
plot               drawing with Pillow: lines, text, ticks; the confusion matrix as a picture
"""
