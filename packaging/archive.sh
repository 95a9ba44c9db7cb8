#!/usr/bin/env bash
# Debian's archive, as this machine is set up with it, seen from a suite and an architecture.
# usage: archive.sh CACHE SUITE ARCHITECTURE   (Debian's words: bullseye, arm64)
#
# Prints a folder with `apt.conf`, which APT_CONFIG may name, `sources.list` and `acquire.conf`. Everything
# that apt reads of the suite and remembers of it lies in that folder: nothing of another suite reaches this
# machine. The addresses and the way to them are those of this machine, looked up when this runs.
set -euo pipefail
cache=$1 suite=$2 architecture=$3
. /etc/os-release
own=$VERSION_CODENAME
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# view NAME ARCHITECTURE: a configuration of apt's that keeps everything in a folder of that name.
view() {
    folder=$cache/archive/$1
    mkdir -p "$folder"/{lists/partial,archives/partial,none}
    : >"$folder/status"
    # Where packages come through, and what this machine accepts of a mirror.
    apt-config dump | grep '^Acquire::' | grep -vE '^Acquire::(IndexTargets|Changelogs|cdrom)' >"$folder/acquire.conf"
    cat "$folder/acquire.conf" - >"$folder/apt.conf" <<CONF
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Sandbox::User "root";
Dir::State "$folder";
Dir::State::status "$folder/status";
Dir::Cache "$folder";
Dir::Etc::main "$folder/none/apt.conf";
Dir::Etc::parts "$folder/none";
Dir::Etc::preferences "$folder/none/preferences";
Dir::Etc::preferencesparts "$folder/none";
CONF
}

# Once a day: a mirror forgets packages that newer ones took the place of.
update() {
    [[ -z $(find "$folder/updated" -mtime -1 2>/dev/null) ]] || return 0
    APT_CONFIG=$folder/apt.conf apt-get update -qq >&2
    touch "$folder/updated"
}

# What the machine has, as the machine's own files say it.
view machine "$(dpkg --print-architecture)"
update
known=$(APT_CONFIG=$folder/apt.conf apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages')

view "$suite-$architecture" "$architecture"
printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "%s";\n' "$folder/sources.list" "$folder/none" >>"$folder/apt.conf"
while read -r uri codename component; do
    case $component:$codename in
    # Security and updates of the machine's own suite, as they are configured; of another one the release.
    main:"$own" | main:"$own"-*) [[ $suite == "$own" || $codename == "$own" ]] || continue ;;
    *) continue ;;
    esac
    echo "deb [signed-by=$keyring] $uri ${codename/#$own/$suite} main"
done <<<"$known" | sort -u >"$folder/sources.new"
[[ -s $folder/sources.new ]] || { echo "archive: apt has no source of $own here" >&2; exit 1; }
# Other sources, other lists.
cmp -s "$folder/sources.new" "$folder/sources.list" || rm -f "$folder/updated"
mv "$folder/sources.new" "$folder/sources.list"
update
echo "$folder"
