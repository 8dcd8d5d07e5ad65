"""moto, as an object store behaves where moto does not.

Its own server ends connections without a word of TLS's, which pgBackRest takes for a broken one; its lists have the directories
of objects that were deleted, where old versions are kept; and what comes in parts is not locked as the bucket asks for.

    serve.py ADDRESS PORT CERTIFICATE KEY
"""

import copy
import sys

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeDeleteMarker, S3Backend

list_objects = S3Backend.list_objects


def list_what_is_there(backend, bucket, *rest, **named):
    there = copy.copy(bucket)
    there.keys = {name: key for name, key in bucket.keys.items() if not isinstance(key, FakeDeleteMarker)}
    return list_objects(backend, there, *rest, **named)


def complete_and_lock(backend, bucket_name, *rest):
    key, bucket = complete(backend, bucket_name, *rest), backend.get_bucket(bucket_name)
    if key is not None and bucket.has_default_lock:
        key.lock_mode, key.lock_until = bucket.default_lock_mode, bucket.default_retention()
    return key


S3Backend.list_objects = list_what_is_there
complete = S3Backend.complete_multipart_upload
S3Backend.complete_multipart_upload = complete_and_lock
address, port, certificate, key = sys.argv[1:]
server = Server((address, int(port)), DomainDispatcherApplication(create_backend_app), numthreads=20)
server.ssl_adapter = BuiltinSSLAdapter(certificate, key)
server.start()
