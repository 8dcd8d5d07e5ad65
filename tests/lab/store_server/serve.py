"""moto behind a server that ends connections as TLS wants it: its own does not, and pgBackRest takes that for a broken one.

serve.py ADDRESS PORT CERTIFICATE KEY
"""

import sys

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

address, port, certificate, key = sys.argv[1:]
server = Server((address, int(port)), DomainDispatcherApplication(create_backend_app), numthreads=20)
server.ssl_adapter = BuiltinSSLAdapter(certificate, key)
server.start()
