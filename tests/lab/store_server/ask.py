"""What an administrator of the object store does, by Amazon's own library: runs in the environment of requirements.txt.

ask.py URL CA new-key            by nobody yet: a user who may do everything, whose key is printed
ask.py URL CA make BUCKET        the key is read from stdin, here and below: a bucket that keeps old versions, each for a day at
                                 least, whoever asks for its end
ask.py URL CA list BUCKET        every object there is now, a line each
ask.py URL CA delete-all BUCKET  deletes every object, as whoever has the key can; old versions stay
ask.py URL CA destroy BUCKET     asks for the end of every version there is: prints how many are gone, and how many were refused
ask.py URL CA delete BUCKET NAME deletes one object
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError

EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def client(kind, url, ca, key):
    return boto3.client(
        kind,
        endpoint_url=url,
        verify=ca,
        region_name="us-east-1",
        aws_access_key_id=key["key"],
        aws_secret_access_key=key["key_secret"],
    )


def ends(s3, bucket, version):
    """Whether a version of an object is gone for good, which its lock forbids."""
    try:
        s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


def main(url, ca, what, *names):
    if what == "new-key":
        iam = client("iam", url, ca, {"key": "none", "key_secret": "none"})
        iam.create_user(UserName="backup")
        iam.put_user_policy(UserName="backup", PolicyName="all", PolicyDocument=json.dumps(EVERYTHING))
        made = iam.create_access_key(UserName="backup")["AccessKey"]
        print(json.dumps({"key": made["AccessKeyId"], "key_secret": made["SecretAccessKey"]}))
        return
    s3 = client("s3", url, ca, json.load(sys.stdin))
    bucket, *names = names
    if what == "delete":
        s3.delete_object(Bucket=bucket, Key=names[0])
        return
    if what == "make":
        s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        kept = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
        s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": kept})
        return
    if what == "destroy":
        versions = [
            one for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket) for one in page.get("Versions", [])
        ]
        refused = [one for one in versions if not ends(s3, bucket, one)]
        print(len(versions) - len(refused), len(refused))
        return
    if what == "undelete":
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for one in page.get("DeleteMarkers", []):
                s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
        return
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for name in [one["Key"] for page in pages for one in page.get("Contents", [])]:
        if what == "delete-all":
            s3.delete_object(Bucket=bucket, Key=name)
        else:
            print(name)


main(*sys.argv[1:])
