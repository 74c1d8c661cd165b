#!/bin/sh
# Makes what the machines of the Compose profile `cluster` know each other by, each in the volume of whom it belongs to:
# certificates of an authority of its own, passwords of the broker, and tokens. Nobody has to choose or type one.
#
#   prepare.sh [FOLDER]     FOLDER, by default /cluster, has a folder for each machine:
#     authority             its key and all passwords; only this script may see it
#     nats-*                tls/, passwords.conf
#     collector-*           tls/, journal-token, .env with the broker's address
#     writer-*              tls/authority.pem, .env with the broker's address and the collectors' token
#     reader                api-token
#
# Run again it keeps what is valid and makes the rest. To make a machine new secrets, remove its files and those in
# authority/passwords, run it, and restart the cluster. It needs openssl.
set -eu
umask 077

folder=$(cd "${1:-/cluster}" && pwd)
program=${PROGRAM_USER:-10001} broker=${BROKER_USER:-10002} # whom the images' processes run as
days=3650                                                   # that a certificate lasts
ends_s=$((30 * 86400))                                      # before its end it is made again

die() {
    echo "prepare: $1" >&2
    exit 1
}

# Whether a certificate is the authority's, and not about to end: is_valid FILE
is_valid() {
    [ -s "$1" ] && openssl verify -attime $(($(date +%s) + ends_s)) -CAfile authority.pem "$1" > made.log 2>&1
}

# Make new.key and new.pem: new SETTINGS OPTION...
new() {
    settings=$1
    shift
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" -config "$settings" \
        -keyout new.key -out new.pem "$@" 2> made.log || die "no certificate: $(cat made.log)"
}

# Put new.key and new.pem in the place of others; a certificate never stands beside the key of another one:
# replace KEY CERTIFICATE
replace() {
    rm -f "$2"
    mv new.key "$1"
    mv new.pem "$2"
}

command -v openssl > /dev/null || die "openssl is missing: install it"
[ -d "$folder/authority" ] || die "folder '$folder/authority' is missing: mount a volume there"
mkdir -p "$folder/authority/passwords"
cd "$folder/authority"
cat > settings.cnf << 'CNF'
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CNF

if ! is_valid authority.pem; then
    new settings.cnf -extensions authority -subj "/CN=Tickline cluster"
    replace authority.key authority.pem
    echo "prepare: made an authority"
fi

# A password that is made once: password NAME
password() {
    [ -s "passwords/$1" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "passwords/$1"
    cat "passwords/$1"
}
for machine in "$folder"/collector-*; do
    password "broker-${machine##*/}" > made.log
done

# A certificate in FOLDER/tls for the host of its name, and for whoever asks on that machine itself:
# certificate FOLDER USER USAGES
certificate() {
    host=${1##*/} tls=$1/tls
    mkdir -p "$tls"
    if ! is_valid "$tls/certificate.pem"; then
        cat > host.cnf << CNF
[req]
distinguished_name = name
[name]
[host]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = $3
subjectAltName = DNS:$host, DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CNF
        new host.cnf -extensions host -CA authority.pem -CAkey authority.key -subj "/CN=$host"
        replace "$tls/key.pem" "$tls/certificate.pem"
        echo "prepare: made a certificate for $host"
    fi
    trust "$1" "$2"
}

# Give FOLDER/tls the authority, and all of it to USER: trust FOLDER USER
trust() {
    mkdir -p "$1/tls"
    write "$1/tls/authority.pem" "$2" < authority.pem
    chown -hR "$2" "$1/tls"
    chown "$2" "$1"
}

# Write a file of USER as a whole: write FILE USER < text
write() {
    rm -f "$1.new"
    cat > "$1.new"
    chown "$2" "$1.new"
    mv "$1.new" "$1"
}

# Set NAME in FILE, and keep its other lines: setting FILE NAME VALUE
setting() {
    { if [ -f "$1" ]; then sed "/^$2=/d" "$1"; fi && echo "$2=$3"; } | write "$1" "$program"
}

# The addresses of all nodes for a user: broker_url NAME
broker_url() {
    urls=""
    for node in "$folder"/nats-*; do
        urls="$urls${urls:+,}tls://$1:$(password "broker-$1")@${node##*/}:4222"
    done
    echo "$urls"
}

for machine in "$folder"/nats-*; do
    certificate "$machine" "$broker" "serverAuth, clientAuth"
    {
        for of in "$folder"/collector-*; do
            name=${of##*/}
            echo "$(echo "$name" | tr 'a-z-' 'A-Z_'): \"$(password "broker-$name")\""
        done
        echo "WRITER: \"$(password broker-writer)\""
    } | write "$machine/passwords.conf" "$broker"
done
for machine in "$folder"/collector-*; do
    certificate "$machine" "$program" serverAuth
    password journal | write "$machine/journal-token" "$program"
    setting "$machine/.env" TICKLINE_NATS_URL "$(broker_url "${machine##*/}")"
done
for machine in "$folder"/writer-*; do
    trust "$machine" "$program"
    setting "$machine/.env" TICKLINE_NATS_URL "$(broker_url writer)"
    setting "$machine/.env" TICKLINE_COLLECTOR_TOKEN "$(password journal)"
done
chown "$program" "$folder/reader"
password page | write "$folder/reader/api-token" "$program"
rm -f settings.cnf host.cnf made.log
echo "prepare: all machines have what they need"
