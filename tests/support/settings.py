"""A complete configuration file, as small as it may be."""

DEVELOPMENT_SETTINGS = """
[service]
mode = "development"
origin = "https://localhost:8443"
tls_certificate = "tls/server.pem"
tls_key = "tls/server.key"

[database.login]
url = "sqlite:///login.db"

[database.ballots]
url = "sqlite:///ballots.db"

[database.pki]
url = "sqlite:///pki.db"

[tokens.login]
module = "/usr/lib/softhsm/libsofthsm2.so"
token = "tamga-login"
pin_file = "pins/login"
pin_latch_directory = "latches"

[trust]
roots = ["pki/root.cer"]

[[trust.issuers]]
name = "citizen-ca"
certificates = ["pki/citizen-ca.cer"]
responders = ["http://127.0.0.1:8480/ocsp/citizen-ca"]
nonce = "require"
authorities_publish_no_status_because = "these CAs publish no lists"
required_policies = ["2.16.496.1.101.1.2.8"]
person_pattern = "PNOMN-[0-9]{12}"

[receipts]
log_directory = "logs"
salt_key_directory = "salts"

[audit]
directory = "audit"

[development]
softhsm2_conf = "softhsm2.conf"
"""
