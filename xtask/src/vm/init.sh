#!/bin/busybox sh
# The guest's first process: mounts what the kernel offers, runs /command, says how it ended, and switches the guest off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets
/bin/busybox mkdir -p /applets
/bin/busybox --install -s /applets
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ln -s /proc/self/fd /dev/fd
# One newline is one newline on the other side.
stty -F /dev/console -onlcr
ip link set lo up
modprobe virtio_pci
modprobe 9pnet_virtio
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out || echo "the folder for results cannot be mounted"
cd /out
echo "lb-guest: begins on Linux $(uname -r)"
setsid sh /command
status=$?
cd /
umount -l /out
echo
echo "lb-guest: ended with $status"
poweroff -f
