"""Buckets: Google Cloud Storage (`gs://`) and S3 and what speaks its protocol (`s3://`)."""
