"""Beam's options for s3:// and hdfs:// as what the project's file access reads: the environment."""

from __future__ import annotations

import os

from apache_beam.options.pipeline_options import HadoopFileSystemOptions, PipelineOptions, S3Options

from preprocess.options import OptionsError

_VARIABLES = {
    "s3_access_key_id": "AWS_ACCESS_KEY_ID",
    "s3_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "s3_session_token": "AWS_SESSION_TOKEN",
    "s3_endpoint_url": "AWS_ENDPOINT_URL",
    "s3_region_name": "AWS_DEFAULT_REGION",
}


def apply(options: PipelineOptions) -> None:
    """Takes over the options of stores, before the first file is looked for.

    Workers on other machines have an environment of their own, where the same variables must be set.

    Raises:
        OptionsError: an option that the paths themselves say.
    """
    s3 = options.view_as(S3Options)
    for option, variable in _VARIABLES.items():
        if value := getattr(s3, option):
            os.environ[variable] = value
    hadoop = options.view_as(HadoopFileSystemOptions)
    if hadoop.hdfs_host:
        raise OptionsError(f"--hdfs_host={hadoop.hdfs_host}: name the host in the paths, hdfs://{hadoop.hdfs_host}/raw")
    if hadoop.hdfs_port:
        os.environ["WEBHDFS_PORT"] = str(hadoop.hdfs_port)
    if hadoop.hdfs_user:
        os.environ["HADOOP_USER_NAME"] = hadoop.hdfs_user
