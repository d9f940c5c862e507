"""How good predictions are: one confusion matrix over a whole data set, and functions of it.

confusion_matrix   counts[true, predicted], exact and additive
scores             SCORES: IoU, Dice and accuracy from the counts
evaluation         a model over a loader -> loss and counts, of one process or of many
images             truth and prediction of many images -> counts of all, and a row for each
report             the scores as a dict for JSON, and as a table to read
history            the numbers of an epoch, and what those of all epochs say
record             writes them: metrics.csv, report.json, TensorBoard, pictures
curves             python -m metrics.curves: metrics.csv of one or more runs as a picture
confusion_picture  the confusion matrix as a picture
plot               drawing with Pillow: lines, text, ticks
"""
