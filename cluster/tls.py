"""The cipher suites of TLS 1.2 that the cluster's servers take: those that authenticate what they encrypt (AEAD), with keys that
no later theft opens. Of TLS 1.3 all are such.
"""

# As OpenSSL writes them: PostgreSQL, Patroni, HAProxy.
OPENSSL_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
# As Go does, for etcd. The keys are ECDSA.
GO_SUITES = ",".join((
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
))  # fmt: skip
