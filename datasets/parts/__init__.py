"""What several data sets are put together from: splits, orders of steps, protocols of images and of speech."""
