# Larger tables than the usual ones replace the running ones, inside all of the unit's confinement.

dpkg -i "$deb"
serve one 8081
service() {
    printf '[limits]\nservices = %s\n[services.web]\nvips = ["10.96.0.10"]\nports = ["80:8081"]\nendpoints = ["127.0.0.1"]\n' "$1"
}
service 100 | mesh
systemctl restart "$unit"
is "$(ask 10.96.0.10 80)" one
service 20000 | mesh
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one
limit() { kmesh-lite status --json | python3 -c "import json, sys; print(*[t[\"limit\"] for t in json.load(sys.stdin)[\"datapath\"][\"capacity\"] if t[\"table\"] == \"services\"])"; }
is "$(limit)" 20000
