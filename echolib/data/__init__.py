"""From a folder in a data set's own layout to clips of frames: readers, store, clip rules, augmentation."""
