#!/usr/bin/env bash
# Certificates to try TLS with on one machine, for 30 days: an authority, and of it a server (localhost, server) and a
# client. Not for production: the keys can be read by everyone here, because nginx and Triton run as other users.
#
#   docker/certs/example.sh [FOLDER]
#
# server/ and nginx/ have what each of the two serves with; the authority's key and the client's stay out of both.
set -euo pipefail
cd "${1:-"$(dirname "$0")"}"
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

openssl req -x509 "${new_key[@]}" -days 30 -subj "/CN=Shrota example authority" -keyout authority.key -out authority.pem

issue() { # NAME USE ALTERNATIVES
    openssl req "${new_key[@]}" -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 30 \
        -extfile "$1.ext" -out "$1.pem"
    rm "$1.csr" "$1.ext"
}
issue server serverAuth "DNS:localhost,DNS:server,IP:127.0.0.1"
issue client clientAuth "DNS:client"
chmod 644 ./*.key ./*.pem
chmod 600 authority.key
for place in server nginx; do
    mkdir -p "$place"
    cp server.pem server.key authority.pem "$place"
done
rm server.pem server.key
