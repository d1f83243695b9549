"""Health and metrics under MinIO's paths and names, served alike by the S3 and the console port."""
