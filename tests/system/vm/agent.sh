#!/bin/sh
# Runs in the virtual machine. What comes in and goes out are tar archives on disks, found by serial number.
in=/dev/disk/by-id/virtio-in out=/dev/disk/by-id/virtio-out
for _ in $(seq 600); do
    [ -e $in ] && [ -e $out ] && break
    sleep 0.1
done
tar -xf $in -C /in || exit
# What the kernel says is on the console until here, for a boot that hangs; from now on it is in dmesg.log.
dmesg --console-off
# Since power on. guest-qemu.sh waits for this line.
echo "booted in $(($(cut -d ' ' -f 1 /proc/uptime | tr -d .) * 10)) ms" | tee /out/boot
# Emulation is slow, more so on a busy machine; what is tested is not how long a start takes.
mkdir -p /run/systemd/system/kmesh-lite.service.d
printf '[Service]\nTimeoutStartSec=300s\n' >/run/systemd/system/kmesh-lite.service.d/slow.conf
# On the console at once, for those who wait, or if the machine does not come to its end.
touch /out/results
tail -f -n +1 /out/results &
timeout --kill-after=5 "$(cat /in/limit)" /in/main.sh >/out/main.log 2>&1 ||
    echo "FAILED main.sh: ended with $?" >>/out/main.log
uname -r >/out/kernel
dmesg >/out/dmesg.log
tar -cf $out -C /out .
sync
