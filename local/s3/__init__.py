"""Amazon S3 on plain files: a bucket is a folder, an object a file in it, whoever wrote it."""
