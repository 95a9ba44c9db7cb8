# Larger tables replace the running ones, inside all of the unit's confinement.

dpkg -i "$deb"
serve one 8081
is_large() {
    has "$(kmesh-lite status --json | tr -d ' \n')" '"table":"services","used":601,"room":1024,"limit":10000'
}
service() {
    printf '[services.web]\nvips = ["10.96.0.10"]\nports = ["80:8081"]\nendpoints = ["127.0.0.1"]\n'
    # So many more.
    seq "$1" | while read -r number; do
        printf '[services.more-%s]\nvips = ["auto"]\nports = ["80:8081"]\nendpoints = ["127.0.0.1"]\n' "$number"
    done
}
service 1 | mesh
# Anew: a restart takes over the tables that are there, and does not make them smaller.
systemctl stop "$unit"
systemctl start "$unit"
is "$(ask 10.96.0.10 80)" one
service 600 | mesh
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one
is_large
# What has grown is taken over as it is.
systemctl restart "$unit"
is "$(ask 10.96.0.10 80)" one
is_large
