# Larger tables replace the running ones, inside all of the unit's confinement.

dpkg -i "$deb"
serve one 8081
service() {
    printf '[limits]\nservices = %s\n[services.web]\nvips = ["10.96.0.10"]\nports = ["80:8081"]\nendpoints = ["127.0.0.1"]\n' "$1"
}
service 100 | mesh
# Anew: a restart takes over the tables that are there, and does not make them smaller.
systemctl stop "$unit"
systemctl start "$unit"
is "$(ask 10.96.0.10 80)" one
service 5000 | mesh
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one
has "$(kmesh-lite status)" 5000
