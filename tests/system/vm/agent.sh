#!/bin/sh
# Runs in a virtual machine: takes the folder from one disk, runs it, puts what came out on the other.
in=/dev/disk/by-id/virtio-in out=/dev/disk/by-id/virtio-out
udevadm settle --exit-if-exists=$in
udevadm settle --exit-if-exists=$out
mkdir -p /in /out
tar -xf $in -C /in
/in/main.sh >/out/main.log 2>&1
tar -cf $out -C /out .
sync
