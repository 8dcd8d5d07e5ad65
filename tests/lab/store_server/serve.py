"""moto, as an object store behaves where moto does not.

Its own server ends connections without a word of TLS's, which pgBackRest takes for a broken one; and its lists have the
directories of objects that were deleted, where old versions are kept.

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


S3Backend.list_objects = list_what_is_there
address, port, certificate, key = sys.argv[1:]
server = Server((address, int(port)), DomainDispatcherApplication(create_backend_app), numthreads=20)
server.ssl_adapter = BuiltinSSLAdapter(certificate, key)
server.start()
