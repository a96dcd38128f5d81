"""Files of data sets: fetched and verified, Parquet shards of images, S3."""
